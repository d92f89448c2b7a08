//! Why a norm is folded or stays: what people read about it, and that its words never decide anything.
//!
//! In: small trained networks and plans with words of a user's. Out: reasons with their own names and figures, every step
//! that led to them, codes beside sentences; an eps that no sentence takes away.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::fixture::{Folder, Model, bnfold, fold};

fn twin(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/twins/{name}.safetensors"))
}

#[test]
fn a_row_of_the_table_shows_one_instance_with_its_own_names_and_figures() {
    let run = bnfold(&[&"plan", &"--input", &twin("pre-activation")]).expect(0);
    let row = run.stdout.lines().find(|line| line.contains("blocks.#.bn1")).expect("bn1 has a row");
    assert!(row.contains("3 x keep  blocks.#.bn1, such as blocks.0.bn1: values contradict it"), "{row}");
    assert!(row.contains("`blocks.0.bn2`, not `blocks.0.bn1`, follow `blocks.0.conv1.weight`"), "{row}");
    let figures = row.split("correlate by ").nth(1).and_then(|rest| rest.split(',').next()).expect("figures");
    assert!(figures.parse::<f64>().is_ok_and(|figure| figure > 0.5), "{row}");
    assert_eq!(row.matches('#').count(), 1, "only the template has marks: {row}");
}

#[test]
fn every_step_that_led_to_a_decision_is_explained() {
    let explain = |norm: &str| bnfold(&[&"plan", &"--input", &twin("pre-activation"), &"--explain", &norm]);
    let text = explain("blocks.1.bn1").expect(0).stdout;
    let mut rest = text.as_str();
    // In this order: proposed, objected to, asked, measured, decided.
    for step in [
        "blocks.1.bn1\n",
        "  place and name\n",
        "[either-side]",
        "values are asked about `blocks.1.conv1.weight` as a conv [likely]",
        "  values\n",
        "    the pair: row sums and means correlate by ",
        "`blocks.1.bn2` instead of `blocks.1.bn1`: row sums and means correlate by ",
        "[measured]",
        "    kept: values contradict it",
        "  stays: values contradict it",
        "[contradicted]",
    ] {
        let at = rest.find(step).unwrap_or_else(|| panic!("no `{step}` where it should be in\n{text}"));
        rest = &rest[at + step.len()..];
    }
    explain("blocks.7.bn1").error(2, &["--explain blocks.7.bn1: no checkpoint has a norm of this name"]);
}

#[test]
fn a_line_that_settles_a_kept_norm_can_be_pasted_into_a_plan() {
    let folder = Folder::new();
    let input = twin("pre-activation");
    let run = bnfold(&[&"plan", &"--input", &input, &"--explain", &"blocks.1.bn1"]).expect(0);
    let lines = run.stdout.split("settles it, if the model's code says so:").nth(1).expect(&run.stdout).lines();
    let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>();
    assert!(lines.iter().any(|line| line["weight"] == "blocks.1.conv1.weight" && line["op"] == "conv"), "{lines:?}");
    for (index, line) in lines.iter().enumerate() {
        let plan = folder.path(&format!("{index}.json"));
        std::fs::write(&plan, json!({"version": 1, "layers": [line]}).to_string()).unwrap();
        let output = folder.path(&format!("{index}.safetensors"));
        bnfold(&[&"--input", &input, &"--plan", &plan, &"--output", &output, &"--device", &"cpu"]).expect(0);
        assert!(output.exists(), "{line}");
    }
}

#[test]
fn a_folded_norm_is_explained_too() {
    let run = bnfold(&[&"plan", &"--input", &twin("post-activation"), &"--explain", &"blocks.0.bn1"]).expect(0);
    assert!(
        run.stdout.contains("  folded into blocks.0.conv1.weight as a conv, eps 1e-5 (assumed: "),
        "{}",
        run.stdout
    );
}

#[test]
fn reasons_and_evidence_have_codes() {
    for name in ["pre-activation", "post-activation", "conv-relu-norm", "conv-pool-norm"] {
        let run = bnfold(&[&"plan", &"-q", &"--input", &twin(name), &"--format", &"json"]).expect(0);
        for layer in run.json()["layers"].as_array().unwrap() {
            let is_code = |code: &Value| {
                let code = code.as_str().unwrap();
                !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            };
            match layer["action"].as_str() {
                Some("keep") => assert!(is_code(&layer["reason_code"]), "{layer}"),
                _ => {
                    let codes = layer["evidence_codes"].as_array().unwrap();
                    assert_eq!(codes.len(), layer["evidence"].as_array().unwrap().len(), "{layer}");
                    assert!(codes.iter().all(is_code) && is_code(&layer["eps_code"]), "{layer}");
                }
            }
        }
    }
}

/// What a user wrote about an eps is shown; whether it is followed does not depend on it.
#[test]
fn words_about_an_eps_never_decide_whether_it_is_followed() {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &Model::conv_bn());
    for words in ["the paper, table 3", "assumed from the paper, table 3", "--eps", "catalogue: mine"] {
        let line = json!({"norm": "bn", "action": "fold", "weight": "conv.weight", "eps": 0.002, "eps_source": words});
        let plan = folder.text("p.json", json!({"version": 1, "layers": [line]}).to_string());
        let output = folder.path("out.safetensors");
        let more: &[&dyn AsRef<std::ffi::OsStr>] =
            &[&"--output", &output, &"--plan", &plan, &"--eps", &"1e-4", &"--force", &"--format", &"json"];
        let run = fold(&input, more).expect(0);
        let folded = &run.json()["folded"][0];
        assert_eq!((&folded["eps"], &folded["eps_source"]), (&json!(0.002), &json!(words)));
        assert_eq!(folded["eps_code"], json!("plan"), "{words}");
    }
}
