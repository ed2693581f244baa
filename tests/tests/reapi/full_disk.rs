//! Uploads onto a farm whose disk is full.

use super::{Ground, noise};
use bazel_remote_apis::google::bytestream::QueryWriteStatusRequest;
use std::path::Path;
use thresh_cas::DigestFunction;
use thresh_tests::farm::{Farm, FarmOptions};
use thresh_tests::namespace::{self, Mount};
use tonic::Code;

#[test]
fn an_upload_onto_a_full_disk_is_refused_whole_and_stored_once_there_is_room() {
    let room = |data: &Path| vec![Mount::Small(data.to_owned(), 32 << 10)];
    if !namespace::allows(&room("/tmp".as_ref())) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let ground = Ground {
        farm: Farm::start_as(temp.path(), |data| FarmOptions {
            mounts: room(data),
            ..FarmOptions::default()
        }),
        runtime: tokio::runtime::Runtime::new().unwrap(),
        _temp: temp,
    };
    // The disk is seen by the coordinator alone. A sixteenth of it is the journal's: about 1.5 MiB are left for blobs.
    let root = format!("/proc/{}/root", ground.farm.coordinator_id());
    let data = ground.farm.coordinator_data();
    let disk = Path::new(&root).join(data.strip_prefix("/").unwrap());
    let statistics = rustix::fs::statvfs(&disk).unwrap();
    assert_eq!(statistics.f_blocks * statistics.f_frsize, 32 << 20);
    let free = usize::try_from(statistics.f_bavail * statistics.f_frsize).unwrap();
    let filler = disk.join("filler");
    std::fs::write(&filler, vec![0; free - (7 << 19)]).unwrap();

    let client = ground.client("shop", DigestFunction::Sha256);
    ground.block_on(async {
        let (large, small) = (noise(1, 12 << 20), noise(2, 2 << 20));
        let (large_name, small_name) = (client.name(&large), client.name(&small));
        let resource = format!("uploads/1/{}", client.resource(&large_name, false));
        let write = || {
            let pieces = large.chunks(1 << 20).map(<[u8]>::to_vec).collect();
            client.write(&resource, 0, pieces, true)
        };
        let refused = [write().await.unwrap_err(), client.put(&small).await.unwrap_err()];
        for refused in refused {
            assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
            assert!(refused.message().contains("the disk is full"), "{refused}");
        }
        // Nothing of them is there, not even to go on with.
        let names = [large_name, small_name];
        assert_eq!(
            client.missing(&names).await.unwrap(),
            names.map(|name| name.to_wire())
        );
        for name in &names {
            let read = client.read(name, 0, 0, false).await;
            assert_eq!(read.unwrap_err().code(), Code::NotFound);
        }
        let query = QueryWriteStatusRequest {
            resource_name: resource.clone(),
        };
        let known = client.streams().query_write_status(query).await;
        assert_eq!(known.unwrap_err().code(), Code::NotFound);
        // What fits is stored all the same.
        let fits = client.put(b"fits").await.unwrap();
        assert_eq!(client.read(&fits, 0, 0, false).await.unwrap(), b"fits");

        std::fs::remove_file(&filler).unwrap();
        assert_eq!(write().await.unwrap(), 12 << 20);
        assert_eq!(client.put(&small).await.unwrap(), small_name);
        assert_eq!(client.missing(&names).await.unwrap(), []);
        assert!(client.read(&large_name, 0, 0, false).await.unwrap() == large);
        assert!(client.read(&small_name, 0, 0, false).await.unwrap() == small);
    });
}
