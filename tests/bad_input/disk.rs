//! A full disk under the profiles.

use std::{fs, path::Path};

use cloakroom_tests::{
    daemon::{Options, command},
    ports::Port,
    process::Process,
};

use tonic_types::StatusExt as _;

use super::{LEAF, Message, Scene, Status, api, end, file, kept, noise, records, run, start::in_own_mounts};

/// What one message carries at most.
const CHUNK: usize = 240 * LEAF;

/// The messages of a save of one file of noise beside what is there.
pub(super) fn noise_messages(scene: &Scene, seed: u64, size: usize) -> Vec<Message> {
    let body = noise(seed, size);
    let entry = file("noise", &body);
    let mut messages = vec![Message::Begin(scene.begin())];
    for (number, chunk) in body.chunks(CHUNK).enumerate() {
        let first = u32::try_from(number * CHUNK / LEAF).unwrap();
        let run = run(0, first, u32::try_from(chunk.len().div_ceil(LEAF)).unwrap());
        messages.push(Message::Records(records(if number == 0 { vec![entry.clone()] } else { Vec::new() }, vec![run], chunk)));
    }
    messages.push(end(&[kept(), vec![entry]].concat()));
    messages
}

impl Scene {
    /// Saves one file of noise beside what is there, and moves on to the new head.
    pub(super) async fn save_noise(&mut self, seed: u64, size: usize) -> Result<(), Status> {
        let messages = noise_messages(self, seed, size);
        let saved = self.save(messages).await?;
        self.head = saved.snapshot.unwrap().id;
        Ok(())
    }

    /// The content of the file as it is loaded.
    pub(super) async fn noise_size(&self) -> usize {
        let request = api::LoadProfileRequest { session_id: self.session.clone(), ..api::LoadProfileRequest::default() };
        let mut messages = self.profiles().load_profile(request).await.unwrap().into_inner();
        let (mut size, mut complete) = (0, false);
        while let Some(response) = messages.message().await.unwrap() {
            match response.message.unwrap() {
                api::load_profile_response::Message::Records(records) => size += records.data.len(),
                api::load_profile_response::Message::End(_) => complete = true,
                _ => {}
            }
        }
        assert!(complete);
        size
    }
}

/// The bytes of all files in a directory.
fn bytes_in(directory: &Path) -> u64 {
    let items = fs::read_dir(directory).unwrap().map(Result::unwrap);
    items.map(|item| if item.file_type().unwrap().is_dir() { bytes_in(&item.path()) } else { item.metadata().unwrap().len() }).sum()
}

async fn a_full_disk(env: &[(&str, &str)]) {
    let home = tempfile::tempdir().unwrap();
    let blobs = home.path().join("blobs");
    fs::create_dir(&blobs).unwrap();
    let (grpc, http) = (Port::free(), Port::free());
    let env = env.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let inner = command(&Options { env, args: Vec::new() }, &grpc, &http, home.path());
    let mut daemon = Process::spawn("cloakroomd", in_own_mounts("mount -t tmpfs -o size=6m tmpfs \"$0\"", &blobs, &inner));
    daemon.wait_for_line("cloakroomd ready").await;
    // The disk as the daemon sees it.
    let disk = Path::new("/proc").join(daemon.id().to_string()).join("root").join(blobs.strip_prefix("/").unwrap());

    let mut scene = Scene::at(format!("http://{}", grpc.address())).await;
    scene.save_noise(11, 1 << 20).await.unwrap();
    let used = bytes_in(&disk);
    assert!(used > 1 << 20 && bytes_in(&blobs) == 0, "profiles lie on the small disk");

    let before = scene.session().await;
    for seed in 12..15 {
        let status = scene.save_noise(seed, 16 << 20).await.unwrap_err();
        scene.refused(async { Err::<(), _>(status) }, "STORAGE_FULL", "", &["blob store", &blobs.display().to_string(), "no storage space"]).await;
        assert_eq!((scene.session().await, bytes_in(&disk)), (before.clone(), used), "nothing of the failed save stays");
    }
    assert!(daemon.try_wait().is_none(), "the daemon goes on");
    assert_eq!(scene.noise_size().await, (1 << 20) + kept_size());

    scene.save_noise(20, 2 << 20).await.unwrap();
    assert_eq!(scene.session().await.head_snapshot_id, scene.head);
    assert_eq!(scene.noise_size().await, (2 << 20) + kept_size());

    // Room for two messages' data packs, and not for what of three is left for the commit's own object.
    let room = CHUNK as u64 * 5 / 2;
    fs::write(disk.join("filler"), vec![0; usize::try_from((6 << 20) - bytes_in(&disk) - room).unwrap()]).unwrap();
    let (before, used) = (scene.session().await, bytes_in(&disk));
    let status = scene.save_noise(30, 3 * CHUNK).await.unwrap_err();
    assert_eq!(status.get_error_details().error_info().map(|info| info.reason.as_str()), Some("STORAGE_FULL"), "{status:?}");
    assert_eq!((scene.session().await, bytes_in(&disk)), (before, used), "not even what there was room for stays");
    scene.save_noise(31, CHUNK).await.unwrap();
    assert_eq!(daemon.terminate().await, Some(0));
}

pub(super) fn kept_size() -> usize {
    super::kept_bytes().len()
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_commit() {
    a_full_disk(&[]).await;
}

/// With so little memory, content moves to the disk while the stream goes on.
#[tokio::test]
async fn a_disk_that_is_full_in_the_middle_of_a_save() {
    a_full_disk(&[("CLOAKROOM_LIMITS_SAVE_MEMORY", "1MiB")]).await;
}
