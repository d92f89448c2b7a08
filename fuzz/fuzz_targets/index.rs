//! An index gives every tensor a shard below its folder, or is refused.
#![no_main]

use bnfold_gpu::checkpoint::Index;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let Ok(index) = Index::parse(text) else { return };
    for name in index.shards() {
        let is_below = std::path::Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        assert!(is_below && name.ends_with(".safetensors"), "{name:?} leads elsewhere");
    }
    assert!(index.weights().iter().all(|(_, shard)| *shard < index.shards().len()));
});
