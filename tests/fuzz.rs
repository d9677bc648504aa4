//! The fuzz targets without a fuzzer: every body over its seeds and over mutations of them, and nothing of a target missing. `fuzz/README.md` tells how to fuzz.

#[allow(unreachable_pub, dead_code, reason = "the libFuzzer targets use them from another crate")]
mod bodies;
mod make;

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use bodies::TARGETS;

/// Mutations of each target's seeds. All of them take a few seconds in a debug build.
const MUTATIONS: usize = 600;
/// Most bytes of all seeds together: they are part of every checkout.
const MAX_SEEDS: usize = 500_000;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(directory: &str) -> BTreeSet<String> {
    fs::read_dir(home().join(directory)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The seeds of a target by their file names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = format!("seeds/{target}");
    names(&directory).into_iter().map(|name| (name.clone(), fs::read(home().join(&directory).join(name)).unwrap())).collect()
}

/// Numbers that look random, the same for the same seed (`SplitMix64`).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Changes an input in one to four places, or goes on with a piece of another one.
fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(input.len() + 1);
        let end = (at + rng.below(16)).min(input.len());
        match rng.below(7) {
            0 if at < input.len() => input[at] ^= 1 << rng.below(8),
            1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff, b'-', b'9', b'"'][rng.below(8)],
            2 => drop(input.drain(at..end)),
            3 => drop(input.splice(at..at, input[at..end].to_vec()).collect::<Vec<_>>()),
            4 => input.insert(at, rng.byte()),
            5 => input.truncate(at),
            _ => {
                let from = rng.below(other.len() + 1);
                let to = (from + rng.below(64)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
}

/// Runs a body: whether it accepted the input. What fails is kept for a closer look.
fn run(target: &str, body: bodies::Body, input: &[u8], what: &str) -> Result<bool, String> {
    catch_unwind(AssertUnwindSafe(|| body(input))).map_err(|_| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}"));
        fs::write(&kept, input).unwrap();
        format!("{target} failed on {what}; the input is in {}: once mended, keep it in tests/fuzz/seeds/{target}", kept.display())
    })
}

fn try_target(target: &str, body: bodies::Body) -> Result<(), String> {
    let seeds = seeds(target);
    let mut refused = Vec::new();
    for (name, seed) in &seeds {
        if !run(target, body, seed, &format!("its seed {name}"))? {
            refused.push(name);
        }
    }
    println!("{target}: of {} seeds these are refused: {refused:?}", seeds.len());
    if refused.len() == seeds.len() {
        return Err(format!("{target} accepts none of its seeds, so nothing behind its first checks is tried"));
    }
    let mut rng = Rng(0x00c0_ffee);
    for turn in 0..MUTATIONS {
        let mut input = seeds[turn % seeds.len()].1.clone();
        let other = &seeds[rng.below(seeds.len())].1;
        mutate(&mut rng, &mut input, other);
        run(target, body, &input, &format!("mutation {turn}"))?;
    }
    Ok(())
}

#[test]
fn every_fuzz_target_keeps_its_promises_on_its_seeds_and_their_mutations() {
    let failed: Vec<_> = TARGETS.iter().filter_map(|(target, body)| try_target(target, *body).err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn seeds_are_those_that_the_code_makes() {
    let wish = std::env::var("CLOAKROOM_FUZZ_SEEDS").unwrap_or_default();
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let path = home().join("seeds").join(target).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    if wish == "keys" {
        let records = cloakroom_server::fuzz::Keys::fresh().unwrap();
        ["namespace.json", "lineage.json", "check.json"].into_iter().zip(records).for_each(|(name, record)| write("key_record", name, &record));
    }
    for (target, name, bytes) in make::all() {
        if wish == "write" {
            write(target, name, &bytes);
        }
        let path = home().join("seeds").join(target).join(name);
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept == bytes, "{} is not what the code makes today; if that is right: CLOAKROOM_FUZZ_SEEDS=write", path.display());
    }
}

#[test]
fn a_fuzz_target_has_a_file_a_binary_a_body_and_seeds() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(TARGETS.iter().map(|(name, _)| *name).is_sorted(), "the targets are in order");
    let manifest: toml::Table = toml::from_str(&fs::read_to_string(home().join("Cargo.toml")).unwrap()).unwrap();
    let binaries: BTreeSet<String> = manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap().to_owned()).collect();
    let files: BTreeSet<String> = names("targets").iter().map(|name| name.strip_suffix(".rs").unwrap().to_owned()).collect();
    assert_eq!(binaries, targets, "[[bin]] of tests/fuzz/Cargo.toml");
    assert_eq!(files, targets, "tests/fuzz/targets");
    assert_eq!(names("seeds"), targets, "tests/fuzz/seeds");
    for target in &targets {
        let text = fs::read_to_string(home().join(format!("targets/{target}.rs"))).unwrap();
        assert!(text.contains(&format!("bodies::run({target:?}, data)")), "targets/{target}.rs runs another body");
    }
    let bytes: usize = targets.iter().flat_map(|target| seeds(target)).map(|(_, seed)| seed.len()).sum();
    assert!(bytes < MAX_SEEDS, "the seeds have {bytes} bytes");
}
