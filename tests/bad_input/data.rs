//! Messages that are too large, and data that does not unpack to what was announced for it.

use cloakroom_server::model::codec::{Codec, pack};

use super::{Bytes, LEAF, Message, Scene, api, end, file, kept, noise, records, run};

/// What the bombs unpack to: 64 MiB.
const BOMB: usize = 64 << 20;

fn packed(codec: Codec, plain: &[u8]) -> Vec<u8> {
    pack(codec, plain).unwrap().expect("it shrinks")
}

/// One leaf of zeros, said to be packed in `data`.
fn leaf(codec: api::Codec, data: impl Into<Bytes>) -> api::ProfileRecords {
    let plain = [0; LEAF];
    api::ProfileRecords { codec: codec.into(), data: data.into(), ..records(vec![file("zeros", &plain)], vec![run(0, 0, 1)], &plain) }
}

#[tokio::test]
async fn an_oversized_message_is_refused() {
    let scene = Scene::new().await;
    // The default of limits.profile_message_bytes: 1,280 KiB.
    let huge = noise(4, 1280 * 1024 + 1);
    let data = api::ProfileRecords { data: huge.clone().into(), ..api::ProfileRecords::default() };
    let state = Message::StorageState(api::StorageStateChunk { data: huge.into() });
    for message in [Message::Records(data), state] {
        let messages = vec![Message::Begin(scene.begin()), message, end(&kept())];
        scene.refused(scene.save(messages), "LIMIT_EXCEEDED", "", &["13107", "at most 1310720"]).await;
    }
}

#[tokio::test]
async fn a_data_size_over_the_limit_is_refused() {
    let scene = Scene::new().await;
    for data_size in [983_041, u32::MAX] {
        let claimed = api::ProfileRecords { data_size, ..leaf(api::Codec::Raw, vec![0; LEAF]) };
        scene.records_refused(claimed, "LIMIT_EXCEEDED", "records.data_size", &[&data_size.to_string(), "the limit is 983040"]).await;
    }
    // Up to the limit it is a size, which must be that of the runs.
    let claimed = api::ProfileRecords { data_size: 983_040, ..leaf(api::Codec::Raw, vec![0; LEAF]) };
    scene.records_refused(claimed, "DATA_INVALID", "records.data_size", &["4096", "983040"]).await;
}

#[tokio::test]
async fn data_that_unpacks_to_another_size_is_refused() {
    let scene = Scene::new().await;
    for size in [LEAF - 1, LEAF + 1, 0] {
        let (plain, announced) = (vec![0; size], LEAF.to_string());
        let (size, raw) = (size.to_string(), leaf(api::Codec::Raw, plain.clone()));
        scene.records_refused(raw, "DATA_INVALID", "records.data", &[&size, &announced]).await;
        if plain.is_empty() {
            continue;
        }
        let zlib = leaf(api::Codec::Deflate, packed(Codec::Deflate, &plain));
        scene.records_refused(zlib, "DATA_INVALID", "records.data", &["unpacks to", &announced]).await;
        let zstd = leaf(api::Codec::Zstd, packed(Codec::Zstd, &plain));
        scene.records_refused(zstd, "DATA_INVALID", "records.data", &[&size, &announced]).await;
    }
}

#[tokio::test]
async fn bombs_do_not_go_off() {
    let scene = Scene::new().await;
    let plain = vec![0; BOMB];
    let zlib = packed(Codec::Deflate, &plain);
    scene.records_refused(leaf(api::Codec::Deflate, zlib), "DATA_INVALID", "records.data", &["more than the 4096 bytes"]).await;

    let honest = packed(Codec::Zstd, &plain);
    scene.records_refused(leaf(api::Codec::Zstd, honest.clone()), "DATA_INVALID", "records.data", &["states 67108864 bytes where 4096"]).await;

    // RFC 8878, 3.1.1.1: the content size stands behind the descriptor, and behind the window unless the frame is a single segment.
    let mut lying = honest;
    let at = if lying[4] & 0x20 == 0 { 6 } else { 5 };
    assert_eq!((lying[4] >> 6, &lying[at..at + 4]), (2, &67_108_864_u32.to_le_bytes()[..]));
    lying[at..at + 4].copy_from_slice(&4096_u32.to_le_bytes());
    scene.records_refused(leaf(api::Codec::Zstd, lying), "DATA_INVALID", "records.data", &["damaged zstd frame"]).await;

    let silent = zstd::stream::encode_all(&plain[..], 1).unwrap();
    scene.records_refused(leaf(api::Codec::Zstd, silent), "DATA_INVALID", "records.data", &["does not state its content size"]).await;
}

#[tokio::test]
async fn damaged_data_is_refused() {
    let scene = Scene::new().await;
    for (codec, name) in [(Codec::Deflate, api::Codec::Deflate), (Codec::Zstd, api::Codec::Zstd)] {
        let sound = packed(codec, &[0; LEAF]);
        let damaged = [noise(5, 500), sound[..sound.len() - 1].to_vec(), [&sound[..], &[0]].concat(), Vec::new()];
        for data in damaged {
            scene.records_refused(leaf(name, data), "DATA_INVALID", "records.data", &["data "]).await;
        }
    }
}
