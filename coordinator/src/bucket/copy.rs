//! Copying what is new into the bucket.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use thresh_cas::SealedPack;
use tokio::task::{JoinSet, spawn_blocking};

use super::{Bucket, BucketError};

/// What goes at once, in bytes; longer packs go in parts of so many. S3 wants no part but the last to be shorter than 5 MiB.
const PART_BYTES: u64 = 8 << 20;
/// Parts under way at once.
const PARTS_MAX: usize = 3;

impl Bucket {
    /// Copies all that has been stored so far; returns when it is there.
    ///
    /// # Errors
    /// It cannot be read, or the store refuses or does not answer.
    pub(crate) async fn copy_all(&self) -> Result<(), BucketError> {
        let _alone = self.inner.copying.lock().await;
        let packs = self.inner.packs.clone();
        let sealed = spawn_blocking(move || packs.seal_all().map_err(|error| error.to_string()));
        sealed
            .await
            .unwrap_or_else(|ended| Err(ended.to_string()))
            .map_err(|cause| self.unreadable(cause))?;
        self.copy_sealed().await
    }

    /// Copies the packs that are complete.
    pub(super) async fn copy_complete(&self) -> Result<(), BucketError> {
        let _alone = self.inner.copying.lock().await;
        self.copy_sealed().await
    }

    async fn copy_sealed(&self) -> Result<(), BucketError> {
        for pack in self.inner.packs.sealed() {
            if !self.has(&pack.name) {
                self.copy(&pack).await?;
                self.note(pack.name);
            }
        }
        Ok(())
    }

    async fn copy(&self, pack: &SealedPack) -> Result<(), BucketError> {
        let path = self.path(&pack.name);
        if pack.bytes <= PART_BYTES {
            let content = self.read(&pack.file, 0, pack.bytes).await?;
            let put = self.inner.store.put(&path, content).await;
            return put.map(drop).map_err(self.failed("copy blobs to"));
        }
        self.copy_in_parts(pack, &path).await
    }

    async fn copy_in_parts(&self, pack: &SealedPack, path: &Path) -> Result<(), BucketError> {
        let begun = self.inner.store.put_multipart(path).await;
        let mut upload = begun.map_err(self.failed("copy blobs to"))?;
        let mut parts = JoinSet::new();
        let mut sent = Ok(());
        let mut at = 0;
        while at < pack.bytes && sent.is_ok() {
            if parts.len() == PARTS_MAX {
                sent = self.part_sent(parts.join_next().await);
            }
            let length = PART_BYTES.min(pack.bytes - at);
            match self.read(&pack.file, at, length).await {
                Ok(content) => drop(parts.spawn(upload.put_part(content))),
                Err(error) => sent = Err(error),
            }
            at += length;
        }
        while let Some(done) = parts.join_next().await {
            sent = sent.and(self.part_sent(Some(done)));
        }
        if let Err(error) = sent {
            // If this fails, too, the store's own rules for what was not completed apply.
            let _ = upload.abort().await;
            return Err(error);
        }
        upload
            .complete()
            .await
            .map(drop)
            .map_err(self.failed("copy blobs to"))
    }

    fn part_sent(
        &self,
        done: Option<Result<object_store::Result<()>, tokio::task::JoinError>>,
    ) -> Result<(), BucketError> {
        let sent = done.unwrap_or(Ok(Ok(())));
        let sent = sent.map_err(|ended| self.unreadable(ended.to_string()))?;
        sent.map_err(self.failed("copy blobs to"))
    }

    async fn read(&self, file: &Arc<File>, offset: u64, length: u64) -> Result<PutPayload, BucketError> {
        let file = file.clone();
        let read = spawn_blocking(move || {
            let mut content = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
            file.read_exact_at(&mut content, offset)?;
            Ok::<_, std::io::Error>(PutPayload::from(content))
        });
        let read = read.await.map_err(|ended| self.unreadable(ended.to_string()))?;
        read.map_err(|cause| self.unreadable(cause.to_string()))
    }

    fn unreadable(&self, cause: String) -> BucketError {
        BucketError::Blobs {
            address: self.inner.address.clone(),
            cause,
        }
    }
}
