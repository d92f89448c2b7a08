//! Vulkan layers that tests put between the program and the driver.
//!
//! In: `tests/vulkan/misbehave.c`, and the validation layer that Debian's Chromium brings. Out: a folder that the Vulkan loader
//! finds both in, and a test that nothing the program does is a message of the second.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::fixture::{Folder, Run, command};

/// The layer that makes devices misbehave.
pub const MISBEHAVE: &str = "VK_LAYER_bnfold_misbehave";

/// Khronos's, which knows the specification.
const VALIDATION: &str = "VK_LAYER_KHRONOS_validation";

const DIGITS: &str = "tests/data/digits-resnet.safetensors";

/// Newer than Debian's package of its own, whose SPIR-V validator does not know WGSL's name.
const VALIDATION_LIBRARY: &str = "/usr/lib/chromium/libVkLayer_khronos_validation.so";

/// The folder with the layers' manifests; the first is built there.
pub fn layers() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vulkan");
        std::fs::create_dir_all(&folder).unwrap();
        let library = folder.join("libmisbehave.so");
        build(&crate::docs::root().join("tests/vulkan/misbehave.c"), &library);
        let functions = serde_json::json!({
            "vkGetInstanceProcAddr": "misbehave_instance_proc",
            "vkGetDeviceProcAddr": "misbehave_device_proc",
        });
        manifest(&folder, MISBEHAVE, &library, &functions);
        manifest(&folder, VALIDATION, Path::new(VALIDATION_LIBRARY), &serde_json::json!({}));
        folder
    })
}

fn build(source: &Path, library: &Path) {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let built = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type", "-shared", "-fPIC", "-O1", "-o"])
        .args([library, source])
        .output()
        .expect("a C compiler");
    let words = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "is libvulkan-dev installed, which has the headers?\n{words}");
}

fn manifest(folder: &Path, name: &str, library: &Path, functions: &serde_json::Value) {
    let manifest = serde_json::json!({
        "file_format_version": "1.1.2",
        "layer": {
            "name": name,
            "type": "GLOBAL",
            "library_path": library,
            "api_version": "1.3.0",
            "implementation_version": "1",
            "description": "for tests of bnfold-gpu",
            "functions": functions,
        },
    });
    std::fs::write(folder.join(format!("{name}.json")), manifest.to_string()).unwrap();
}

/// What the validation layer says of a fold of the digits on the GPU, as `kind` of adapter.
fn messages(kind: &str) -> String {
    let folder = Folder::new();
    let log = folder.path("log");
    let settings = format!(
        "khronos_validation.validate_sync = true\nkhronos_validation.syncval_full_validation = true\n\
         khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG\n\
         khronos_validation.report_flags = error,warn,info\nkhronos_validation.log_filename = {}\n",
        log.display()
    );
    folder.text("vk_layer_settings.txt", settings);
    let output = folder.path("out.safetensors");
    let mut program = command(&[&DIGITS, &"--output", &output, &"--device", &"gpu", &"--eps", &"1e-5"]);
    program.env("VK_LAYER_PATH", layers()).env("VK_LAYER_SETTINGS_PATH", folder.path(""));
    // The layer that is named last is the nearest to the driver: what it does is not what validation sees.
    program.env("VK_INSTANCE_LAYERS", format!("{VALIDATION}:{MISBEHAVE}"));
    program.env("MISBEHAVE_AS", kind);
    Run::of(&mut program).expect(0);
    std::fs::read_to_string(log).expect("the validation layer writes what it validates; Debian's chromium has it")
}

#[test]
fn nothing_that_the_engine_does_is_against_the_specification() {
    for kind in ["", "discrete,minimal"] {
        let messages = messages(kind);
        assert!(messages.contains("- Synchronization"), "test is broken: hazards are not looked for\n{messages}");
        let is_complaint = |line: &&str| line.starts_with("Validation Error") || line.starts_with("Validation Warning");
        let complaints = messages.lines().filter(is_complaint).collect::<Vec<_>>();
        assert!(complaints.is_empty(), "as {kind:?}:\n{messages}");
    }
}
