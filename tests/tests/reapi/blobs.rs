use super::{BOTH, Ground, noise};
use bazel_remote_apis::build::bazel::remote::execution::v2::capabilities_client::CapabilitiesClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    Action, BatchReadBlobsRequest, Directory, DirectoryNode, FindMissingBlobsRequest, GetCapabilitiesRequest,
    GetTreeRequest, digest_function,
};
use bazel_remote_apis::google::bytestream::QueryWriteStatusRequest;
use prost::Message;
use thresh_cas::{BlobName, DigestFunction};
use thresh_tests::reapi::shell;
use tonic::Code;

const LARGE: usize = 9 << 20;

#[test]
fn blobs_come_back_as_they_were_by_either_name_and_compressed_or_not() {
    let ground = Ground::new(0);
    for function in BOTH {
        let client = ground.client("shop", function);
        let large = noise(function as u8, LARGE);
        let name = client.name(&large);
        ground.block_on(async {
            assert_eq!(client.missing(&[name]).await.unwrap(), [name.to_wire()]);
            let resource = format!("shop/uploads/1/{}", client.resource(&name, false));
            let pieces = large.chunks(1 << 20).map(<[u8]>::to_vec).collect();
            assert_eq!(
                client.write(&resource, 0, pieces, true).await.unwrap(),
                LARGE as i64
            );
            assert_eq!(client.missing(&[name]).await.unwrap(), []);
            assert!(client.read(&name, 0, 0, false).await.unwrap() == large);
            assert!(client.read(&name, 1_000_000, 77, false).await.unwrap() == large[1_000_000..1_000_077]);
            let packed = client.read(&name, 0, 0, true).await.unwrap();
            assert!(zstd::decode_all(&packed[..]).unwrap() == large);
            // Written again, the rest need not be sent.
            let again = client
                .write(&resource, 0, vec![large[..100].to_vec()], false)
                .await;
            assert_eq!(again.unwrap(), LARGE as i64);
            // Compressed on the way in.
            let text = b"all the same ".repeat(100_000);
            let name = client.name(&text);
            let resource = format!("uploads/2/{}", client.resource(&name, true));
            let packed = zstd::encode_all(&text[..], 3).unwrap();
            client
                .write(&resource, 0, vec![packed.clone()], true)
                .await
                .unwrap();
            assert!(client.read(&name, 0, 0, false).await.unwrap() == text);
            // In messages, and nothing at all.
            let small = client.put(b"small").await.unwrap();
            let empty = client.name(b"");
            assert_eq!(client.missing(&[small, empty]).await.unwrap(), []);
            assert_eq!(client.read(&empty, 0, 0, false).await.unwrap(), b"");
            client.put(b"").await.unwrap();
            client
                .put_as(
                    &client.name(&text[..1_000]),
                    &zstd::encode_all(&text[..1_000], 3).unwrap(),
                    true,
                )
                .await
                .unwrap();
            let request = BatchReadBlobsRequest {
                digests: vec![small.to_wire(), empty.to_wire(), client.name(b"gone").to_wire()],
                digest_function: client.function(),
                ..BatchReadBlobsRequest::default()
            };
            let read = client
                .cas()
                .batch_read_blobs(request)
                .await
                .unwrap()
                .into_inner()
                .responses;
            let codes = read.iter().map(|reply| reply.status.as_ref().unwrap().code);
            assert_eq!(codes.collect::<Vec<_>>(), [0, 0, i32::from(Code::NotFound)]);
            assert_eq!(read[0].data, b"small");
        });
    }
}

#[test]
fn an_upload_that_is_cut_off_goes_on_where_it_was() {
    let ground = Ground::new(0);
    let client = ground.client("", DigestFunction::Sha256);
    let content = noise(3, 3 << 20);
    let name = client.name(&content);
    let resource = format!("uploads/abc/{}", client.resource(&name, false));
    ground.block_on(async {
        let status = || {
            let request = QueryWriteStatusRequest {
                resource_name: resource.clone(),
            };
            let mut streams = client.streams();
            async move {
                streams
                    .query_write_status(request)
                    .await
                    .map(|reply| reply.into_inner())
            }
        };
        assert_eq!(status().await.unwrap_err().code(), Code::NotFound);
        let first = vec![content[..1 << 20].to_vec(), content[1 << 20..2 << 20].to_vec()];
        assert!(client.write(&resource, 0, first, false).await.is_err());
        let cut_off = status().await.unwrap();
        assert_eq!((cut_off.committed_size, cut_off.complete), (2 << 20, false));
        // Neither a gap nor what came before.
        for offset in [1 << 20, 5] {
            let wrong = client.write(&resource, offset, vec![vec![0]], true).await;
            assert_eq!(wrong.unwrap_err().code(), Code::OutOfRange);
        }
        assert!(
            client
                .write(&resource, 0, vec![content[..2 << 20].to_vec()], false)
                .await
                .is_err()
        );
        let rest = vec![content[2 << 20..].to_vec()];
        assert_eq!(
            client.write(&resource, 2 << 20, rest, true).await.unwrap(),
            3 << 20
        );
        let complete = status().await.unwrap();
        assert_eq!((complete.committed_size, complete.complete), (3 << 20, true));
        assert!(client.read(&name, 0, 0, false).await.unwrap() == content);
    });
}

#[test]
fn what_is_not_what_its_name_says_is_refused() {
    let ground = Ground::new(0);
    for function in BOTH {
        let client = ground.client("shop", function);
        ground.block_on(async {
            let content = noise(9, 2 << 20);
            let name = client.name(&content);
            let resource = format!("uploads/x/{}", client.resource(&name, false));
            let mut corrupted = content.clone();
            corrupted[7] ^= 1;
            let mut oversized = content.clone();
            oversized.push(1);
            for wrong in [corrupted, oversized, content[..content.len() - 1].to_vec()] {
                let refused = client.write(&resource, 0, vec![wrong], true).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
                assert_eq!(client.missing(&[name]).await.unwrap().len(), 1);
            }
            let small = client.name(b"right");
            for (wrong, zstd) in [
                (&b"wrong"[..], false),
                (b"right!", false),
                (b"", false),
                (b"right", true),
            ] {
                let refused = client.put_as(&small, wrong, zstd).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
            }
            // A bomb: a gigabyte of zeros in a few kilobytes, under the name of something short.
            let bomb = zstd::encode_all(std::io::Read::take(std::io::repeat(0), 1 << 30), 1).unwrap();
            let refused = client.put_as(&small, &bomb, true).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            let resource = format!("uploads/y/{}", client.resource(&small, true));
            let refused = client.write(&resource, 0, vec![bomb], true).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert_eq!(client.missing(&[small]).await.unwrap().len(), 1);
        });
    }
}

#[test]
fn requests_that_make_no_sense_are_refused_with_the_reason() {
    let ground = Ground::new(0);
    let client = ground.client("shop", DigestFunction::Sha256);
    ground.block_on(async {
        let find = |function: i32, hash: &str, size: i64| FindMissingBlobsRequest {
            blob_digests: vec![bazel_remote_apis::build::bazel::remote::execution::v2::Digest {
                hash: hash.to_owned(),
                size_bytes: size,
            }],
            digest_function: function,
            ..FindMissingBlobsRequest::default()
        };
        let good = client.name(b"x").hash_text();
        let md5 = digest_function::Value::Md5.into();
        for (request, part) in [
            (find(md5, &good, 1), "MD5"),
            (find(12_345, &good, 1), "12345"),
            (find(0, "abc", 1), "abc/1"),
            (find(0, &good.to_uppercase(), 1), "lower-case"),
            (find(0, &good, -1), "/-1"),
        ] {
            let refused = client.cas().find_missing_blobs(request).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().contains(part), "{refused}");
        }
        let read = client.read(&client.name(b"gone"), 0, 0, false).await.unwrap_err();
        assert_eq!(read.code(), Code::NotFound);
        let small = client.put(b"small").await.unwrap();
        for (offset, limit) in [(6, 0), (-1, 0), (0, -1)] {
            let refused = client.read(&small, offset, limit, false).await.unwrap_err();
            assert_eq!(refused.code(), Code::OutOfRange);
        }
        let refused = client
            .write("uploads/x/blobs/zz/1", 0, vec![vec![1]], true)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    });
}

#[test]
fn trees_are_sent_whole_and_capabilities_told() {
    let ground = Ground::new(0);
    let client = ground.client("shop", DigestFunction::Sha256);
    ground.block_on(async {
        let leaf = Directory {
            files: vec![client.file("f", b"text", false).await.unwrap()],
            ..Directory::default()
        };
        let name = client.put_message(&leaf).await.unwrap();
        let folder = |text: &str| DirectoryNode {
            name: text.to_owned(),
            digest: Some(name.to_wire()),
        };
        let root = Directory {
            directories: vec![folder("a"), folder("b")],
            ..Directory::default()
        };
        let root_name = client.put_message(&root).await.unwrap();
        let get = |name: &BlobName| GetTreeRequest {
            root_digest: Some(name.to_wire()),
            ..GetTreeRequest::default()
        };
        let mut pages = client.cas().get_tree(get(&root_name)).await.unwrap().into_inner();
        let page = pages.message().await.unwrap().unwrap();
        assert_eq!(page.directories, [root, leaf]);
        assert!(pages.message().await.unwrap().is_none());
        let gone = client
            .cas()
            .get_tree(get(&client.name(b"gone")))
            .await
            .unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);

        for (instance, update) in [("shop", false), ("shop/trusted", true)] {
            let request = GetCapabilitiesRequest {
                instance_name: instance.to_owned(),
            };
            let mut capabilities = CapabilitiesClient::new(client.channel.clone());
            let told = capabilities.get_capabilities(request).await.unwrap().into_inner();
            let cache = told.cache_capabilities.unwrap();
            assert_eq!(
                cache.action_cache_update_capabilities.unwrap().update_enabled,
                update
            );
            let functions: [i32; 2] = [
                digest_function::Value::Sha256.into(),
                digest_function::Value::Blake3.into(),
            ];
            assert_eq!(cache.digest_functions, functions);
            assert_eq!(
                (
                    told.low_api_version.unwrap().major,
                    told.execution_capabilities.unwrap().exec_enabled
                ),
                (2, true)
            );
        }
    });
}

#[test]
fn a_folder_cannot_contain_itself() {
    let ground = Ground::new(0);
    for function in BOTH {
        let client = ground.client("shop", function);
        ground.block_on(async {
            let mut own = client.name(b"of a folder that names itself");
            own.size = 0;
            let again = |own: &BlobName| Directory {
                directories: vec![DirectoryNode {
                    name: "again".to_owned(),
                    digest: Some(own.to_wire()),
                }],
                ..Directory::default()
            };
            // The length of the length is in it, too.
            while own.size != again(&own).encoded_len() as u64 {
                own.size = again(&own).encoded_len() as u64;
            }
            let content = again(&own).encode_to_vec();
            let refused = client.put_as(&own, &content, false).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
            let resource = format!("uploads/z/{}", client.resource(&own, false));
            let refused = client.write(&resource, 0, vec![content], true).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
            assert_eq!(client.missing(&[own]).await.unwrap(), [own.to_wire()]);
            // By the name that it has it is a folder in which one is missing.
            let action = client
                .put_action(&shell("true"), &again(&own), Action::default())
                .await;
            let refused = client.execute(&action.unwrap(), false).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
            let named = format!("blobs/{own}");
            assert!(
                String::from_utf8_lossy(refused.details()).contains(&named),
                "{refused:?}"
            );
        });
    }
}
