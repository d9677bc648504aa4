//! How what was loaded comes to its place: beside the base and out of it, when steps fail, and when somebody else is there.

use super::*;

#[test]
fn using_up_a_directory_keeps_inodes_of_what_is_unchanged_and_drops_what_is_not_in_the_snapshot() {
    let home = tempfile::tempdir().unwrap();
    let had = home.path().join("had");
    fs::create_dir_all(had.join("d")).unwrap();
    fs::write(had.join("d/kept"), "kept").unwrap();
    fs::write(had.join("d/changed"), "old").unwrap();
    let old = scan(&had);
    let inode = |path: &str| fs::metadata(home.path().join(path)).unwrap().ino();
    let kept = inode("had/d/kept");
    let work = home.path().join("work");
    fs::create_dir_all(work.join("d")).unwrap();
    fs::copy(had.join("d/kept"), work.join("d/kept")).unwrap();
    let entry = old.get("d/kept").unwrap();
    set_attributes_at(&work.join("d/kept"), entry.mode, entry.mtime_ns).unwrap();
    fs::write(work.join("d/changed"), "new").unwrap();
    let messages = stream(&old, &scan(&work), &work, false);
    let space = Workspace::beside(&home.path().join("p")).unwrap();
    let verified = verified(&space, base_of(&had), messages);
    // A cache that no snapshot has, made after the base was looked at.
    fs::create_dir_all(had.join("Cache/deep")).unwrap();
    look_and_place(&verified, goal(&home.path().join("p"), &space, true)).unwrap();
    assert_eq!((inode("p/d/kept"), fs::read_to_string(home.path().join("p/d/changed")).unwrap().as_str()), (kept, "new"));
    assert!(!home.path().join("p/Cache").exists() && !had.exists());
}

/// Everything in a directory as the system tells it, but for what a rename there and back changes.
fn facts(directory: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let (mut facts, mut pending) = (BTreeMap::new(), vec![directory.to_owned()]);
    while let Some(at) = pending.pop() {
        for item in fs::read_dir(&at).unwrap() {
            let path = item.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            // Nor are the times of links part of a profile, and of the directory itself.
            let mtime = if metadata.is_symlink() || at == directory { 0 } else { Stat::of(&metadata).mtime() };
            let body = match metadata.file_type() {
                kind if kind.is_file() => fs::read(&path).unwrap(),
                kind if kind.is_dir() => Vec::new(),
                _ => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            };
            if metadata.is_dir() {
                pending.push(path.clone());
            }
            facts.insert(path.strip_prefix(directory).unwrap().to_owned(), (metadata.mode(), mtime, body));
        }
    }
    facts
}

/// Two versions of a profile that differ in every way, the old one in `had` with its sidecar and a cache that no snapshot has; and the difference as messages.
fn versions(home: &Path) -> (Tree, Tree, Vec<v1::LoadProfileResponse>) {
    let (had, work) = (home.join("had"), home.join("work"));
    for (path, body) in [("d/kept", "kept"), ("d/changed", "old"), ("d/mode", "mode"), ("gone", "gone"), ("e/gone/deep", "deep"), ("turns", "file")] {
        fs::create_dir_all(had.join(path).parent().unwrap()).unwrap();
        fs::write(had.join(path), body).unwrap();
    }
    symlink("kept", had.join("d/link")).unwrap();
    let old = scan(&had);
    copy(&had, &work);
    for path in ["gone", "turns", "d/link", "e/gone"] {
        remove(&work.join(path)).unwrap();
    }
    symlink("changed", work.join("d/link")).unwrap();
    fs::create_dir_all(work.join("turns/into/directories")).unwrap();
    fs::write(work.join("turns/into/new"), "new").unwrap();
    fs::write(work.join("d/changed"), "newer").unwrap();
    set_attributes_at(&work.join("d/mode"), 0o400, 5).unwrap();
    set_attributes_at(&work.join("d"), 0o500, 7).unwrap();
    let new = scan(&work);
    let messages = stream(&old, &new, &work, false);
    fs::create_dir_all(had.join("d/Cache")).unwrap();
    fs::write(had.join("d/Cache/c"), "cache").unwrap();
    set_attributes_at(&had.join("d"), 0o555, 9).unwrap();
    set_attributes_at(&had.join("e/gone"), 0o500, 11).unwrap();
    fs::write(sidecar::path(&had), "known").unwrap();
    (old, new, messages)
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn a_disk_that_is_full_at_any_step_leaves_everything_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let (had, kept) = (home.path().join("had"), home.path().join("kept"));
    let (old, new, messages) = versions(home.path());
    copy(&had, &kept);
    for (target, other) in [("had", false), ("p", false), ("p", true)] {
        let at = home.path().join(target);
        if other {
            make_directory(&at).unwrap();
            fs::create_dir_all(at.join("d/other")).unwrap();
            set_attributes_at(&at.join("d"), 0o550, 13).unwrap();
            fs::write(sidecar::path(&at), "other").unwrap();
        }
        let before = facts(home.path());
        for step in 0.. {
            let base = Base { directory: had.clone(), snapshot_id: "base".to_owned(), tree: old.clone() };
            let space = Workspace::beside(&at).unwrap();
            let verified = verified(&space, base, messages.clone());
            faults::full_after(Some(step));
            let placed = look_and_place(&verified, goal(&at, &space, true));
            let full = faults::was_full();
            faults::full_after(None);
            drop(space);
            if full {
                assert!(matches!(placed, Err(Error::File { .. })), "{target}, step {step}: {placed:?}");
                assert_eq!(facts(home.path()), before, "{target}, step {step}");
                continue;
            }
            assert!(step > 10, "{step}");
            assert_eq!((placed.unwrap().manifest_root(), scan(&at).manifest_root()), (new.manifest_root(), new.manifest_root()));
            assert!(target == "had" || !had.exists());
            break;
        }
        remove(&at).unwrap();
        fs::remove_file(sidecar::path(&at)).unwrap();
        copy(&kept, &had);
        fs::write(sidecar::path(&had), "known").unwrap();
    }
}

/// A browser that starts while its directory is away makes a new one, in which nobody is logged in. The sidecar of the former one must not come to stand beside that: the
/// next save would make it the head.
#[test]
fn a_browser_that_starts_at_any_step_gets_no_sidecar_of_another_directory() {
    let home = tempfile::tempdir().unwrap();
    let (had, kept) = (home.path().join("had"), home.path().join("kept"));
    let (old, new, messages) = versions(home.path());
    copy(&had, &kept);
    let mut met = 0;
    for target in ["had", "p"] {
        for step in 0.. {
            let at = home.path().join(target);
            if target == "p" {
                copy(&kept, &at);
            }
            fs::write(sidecar::path(&at), "known").unwrap();
            let base = Base { directory: had.clone(), snapshot_id: "base".to_owned(), tree: old.clone() };
            let space = Workspace::beside(&at).unwrap();
            let verified = verified(&space, base, messages.clone());
            faults::browser_after(step, at.clone());
            let mut goal = goal(&at, &space, target == "had");
            goal.may.replace = true;
            let placed = look_and_place(&verified, goal);
            let started = faults::has_started();
            drop(space);
            if at.join("Preferences").exists() {
                met += 1;
                assert!(["LOAD_UNFINISHED", "TARGET_EXISTS"].contains(&placed.unwrap_err().reason()), "{target}, step {step}");
                assert!(!sidecar::path(&at).exists(), "{target}, step {step}");
                assert_eq!(crate::leftovers::finished(&at).unwrap_err().reason(), "LOAD_UNFINISHED", "{target}, step {step}");
            } else {
                assert_eq!(placed.unwrap().manifest_root(), new.manifest_root(), "{target}, step {step}");
            }
            for path in [&at, &had, &sidecar::path(&at), &crate::workspace::of(&at)] {
                let _ = remove(path);
            }
            copy(&kept, &had);
            if !started {
                break;
            }
        }
    }
    assert!(met > 5, "{met}");
}

fn verified(space: &Workspace, base: Base, messages: Vec<v1::LoadProfileResponse>) -> Verified {
    verify(space, base, messages).unwrap()
}

fn verify(space: &Workspace, base: Base, messages: Vec<v1::LoadProfileResponse>) -> Result<Verified> {
    let mut loader = Loader::new(space.path(), Some(Arc::new(base)));
    for message in messages {
        if let Some(job) = loader.accept(message)? {
            job.run()?;
        }
    }
    loader.finish()
}

#[test]
fn a_base_that_changes_meanwhile_is_not_taken_and_stays() {
    for (consume, disturb) in [(true, "write"), (false, "write"), (true, "remove")] {
        let home = tempfile::tempdir().unwrap();
        let had = home.path().join("had");
        make_directory(&had).unwrap();
        fs::write(had.join("f"), "x").unwrap();
        let tree = scan(&had);
        let space = Workspace::beside(&home.path().join("p")).unwrap();
        let verified = verified(&space, base_of(&had), stream(&tree, &tree, &had, false));
        if disturb == "write" {
            fs::write(had.join("f"), "longer").unwrap();
        } else {
            fs::remove_file(had.join("f")).unwrap();
        }
        let error = look_and_place(&verified, goal(&home.path().join("p"), &space, consume)).unwrap_err();
        assert_eq!(error.reason(), "PROFILE_CHANGING", "{error}");
        assert!(had.is_dir() && !home.path().join("p").exists());
    }
}

#[test]
fn leaves_are_taken_over_only_from_a_file_that_is_what_it_was() {
    for (consume, disturbed) in [(true, ""), (false, ""), (true, "bytes"), (false, "bytes"), (true, "time"), (false, "time")] {
        let home = tempfile::tempdir().unwrap();
        let (had, work, target) = (home.path().join("had"), home.path().join("work"), home.path().join("p"));
        make_directory(&had).unwrap();
        make_directory(&work).unwrap();
        let mut body: Vec<u8> = (0..3 * LEAF + 7).map(|at| u8::try_from(at % 251).unwrap()).collect();
        fs::write(had.join("f"), &body).unwrap();
        let old = scan(&had);
        body[LEAF + 1] ^= 1;
        fs::write(work.join("f"), &body).unwrap();
        let space = Workspace::beside(&target).unwrap();
        let base = base_of(&had);
        if disturbed == "bytes" {
            let mut other = fs::read(had.join("f")).unwrap();
            other[2 * LEAF + 1] ^= 1;
            fs::write(had.join("f"), other).unwrap();
        }
        if disturbed == "time" {
            // What it holds has to be looked at then, and is still the same.
            set_attributes_at(&had.join("f"), 0o600, 5).unwrap();
        }
        let placed =
            verify(&space, base, stream(&old, &scan(&work), &work, false)).and_then(|verified| look_and_place(&verified, goal(&target, &space, consume)));
        match placed {
            Ok(_) => assert!(disturbed != "bytes" && fs::read(target.join("f")).unwrap() == body, "consume {consume}"),
            Err(error) => assert!(disturbed == "bytes" && error.reason() == "DIGEST_MISMATCH" && had.is_dir() && !target.exists(), "{error}"),
        }
    }
}
