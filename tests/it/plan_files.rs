//! Plans that users edit, and the line that is named when they do not fit.
//!
//! In: a checkpoint with one of everything, and plan files that differ from the right one in one place. Out: the fold, or
//! exit code 1, `FILE:LINE:` and what is wrong there, and no file.

use std::path::PathBuf;

use bnfold_gpu::checkpoint::Float;
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::fixture::{Folder, Model, bnfold, fold, plan};

/// A checkpoint with one of everything that a line may be wrong about.
fn zoo() -> Model {
    let one = [1.0; 4];
    let norm = |name, channels: usize| {
        let ones = vec![1.0; channels];
        Model::new().norm(name, Float::F32, &ones, &ones, &ones, &ones)
    };
    let floats = |name, shape: &[usize]| {
        Model::new().floats(name, Float::F32, shape, &vec![0.5; shape.iter().product::<usize>()])
    };
    Model::merged([
        Model::conv_bn(),
        norm("bn2", 4),
        norm("bn3", 3),
        norm("uneven", 4).floats_replaced("uneven.running_mean", &[0.0; 3]),
        floats("square.weight", &[4, 4, 3, 3]),
        floats("up.weight", &[6, 2, 2, 2]),
        floats("fc.weight", &[4, 5]),
        floats("biased.weight", &[4, 5]).floats("biased.bias", Float::F16, &[4], &one),
        floats("tied.weight", &[4, 5]),
        Model::new().raw("int8.weight", Dtype::I8, &[4, 5], &[1; 20]).raw(
            "fp8.weight",
            Dtype::F8_E4M3,
            &[4, 5],
            &[1; 20],
        ),
        floats("table", &[4, 5]),
    ])
    .metadata("decoder.weight", "tied.weight")
}

/// A folder with the zoo in it.
fn ready() -> (Folder, PathBuf) {
    let folder = Folder::new();
    let input = folder.file("m.safetensors", &zoo());
    (folder, input)
}

/// Folds by `text`; it must be refused at `line` with `words`, by `plan` too, and nothing written.
#[track_caller]
fn refused(text: &str, line: usize, words: &[&str]) {
    let (folder, input) = ready();
    let plan = folder.text("p.json", text);
    let place = format!("p.json:{line}: ");
    let words = [&[place.as_str()], words].concat();
    fold(&input, &[&"--plan", &plan]).error(1, &words);
    let run = bnfold(&[&"plan", &"--input", &input, &"--plan", &plan, &"--format", &"json"]).error(1, &words);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
    assert_eq!(folder.names(), ["m.safetensors", "p.json"]);
}

/// A plan with a good line 3 (bn into conv) and `layer` in lines 4 to 6; `layer` is written a key a line.
fn with_layer(layer: &Value) -> String {
    let layer = serde_json::to_string_pretty(layer).unwrap();
    format!(
        "{{\"version\": 1,\n \"layers\": [\n  {},\n{layer}]}}\n",
        r#"{"norm": "bn", "action": "fold", "weight": "conv.weight"}"#
    )
}

/// The line of a layer that folds bn2 into `weight` with more keys, and why it must be refused.
#[track_caller]
fn line_refused(weight: &str, more: Value, words: &[&str]) {
    let mut layer = json!({"norm": "bn2", "action": "fold", "weight": weight});
    layer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    refused(&with_layer(&layer), 4, words);
}

#[test]
fn the_model_of_all_the_refused_plans_is_accepted() {
    let (folder, input) = ready();
    for (weight, more) in [
        ("fc.weight", json!({})),
        ("biased.weight", json!({"bias_exists": true, "dtype": "F32", "channels": 4, "groups": 1, "eps": 0})),
        ("square.weight", json!({"op": "conv_transpose", "evidence": ["said so"], "eps_source": "config"})),
        ("up.weight", json!({"op": "conv_transpose", "groups": 2, "direction": "backward"})),
        ("fc.weight", json!({"op": "linear", "bias": "fc.bias", "bias_exists": false})),
    ] {
        let mut layer = json!({"norm": "bn2", "action": "fold", "weight": weight});
        layer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let plan = folder.text("p.json", with_layer(&layer));
        let run = fold(&input, &[&"--plan", &plan, &"--force", &"--format", &"json"]).expect(0);
        assert_eq!(run.json()["layers"], json!({"folded": 2, "kept": 2}), "{weight} {more}");
        let kept = run.json()["kept"].as_array().unwrap().clone();
        assert!(kept.iter().all(|kept| kept["reason"] == "the plan does not mention it"), "{kept:?}");
    }
}

#[test]
fn what_plan_prints_is_what_plan_takes() {
    let (folder, input) = ready();
    let first = bnfold(&[&"plan", &"--input", &input, &"--format", &"json", &"--eps", &"1e-4"]).expect(0);
    let printed = folder.text("printed.json", &first.stdout);
    let again = bnfold(&[&"plan", &"--input", &input, &"--format", &"json", &"--plan", &printed]).expect(0);
    assert_eq!(again.stdout, first.stdout);

    // A line that leaves everything out comes back completed, and is taken back once more.
    let sparse = folder.text("sparse.json", plan(&[("bn", "conv.weight")]));
    let completed = bnfold(&[&"plan", &"--input", &input, &"--format", &"json", &"--plan", &sparse]).expect(0);
    let expected = json!({
        "norm": "bn", "action": "fold", "op": "conv", "weight": "conv.weight", "bias": "conv.bias",
        "bias_exists": false, "channels": 4, "groups": 1, "dtype": "F32", "eps": 1e-5, "eps_source": "plan",
        "eps_code": "plan", "evidence": [], "evidence_codes": [],
    });
    let json = completed.json();
    assert_eq!(json["layers"][0], expected);
    assert_eq!((&json["version"], &json["dialect"]), (&json!(1), &json!("pytorch")));
    assert_eq!(json["architecture"], Value::Null);
    assert_eq!(json["input"], json!(input.to_str().unwrap()));
    let full = folder.text("full.json", &completed.stdout);
    let outputs = [&sparse, &full].map(|plan| {
        let output = plan.with_extension("safetensors");
        fold(&input, &[&"--plan", plan, &"--output", &output, &"--no-record"]).expect(0);
        std::fs::read(output).unwrap()
    });
    assert!(outputs[0] == outputs[1], "the completed plan folds otherwise");
}

#[test]
fn syntax_is_refused_where_it_breaks() {
    refused("", 1, &["not a plan: EOF"]);
    refused("{\"version\": 1,\n\"layers\": [\n}", 3, &["not a plan"]);
    refused("{\"version\": 1, \"layers\": [\n\n{\"norm\": \"bn\"\n\"action\": \"keep\"}]}", 4, &["not a plan"]);
    refused("{\"version\": 1, \"layers\": []}\n\nx", 3, &["not a plan: trailing characters"]);
    refused("{\"layers\": []\n}", 2, &["missing field `version`"]);
    refused("{\"version\": 1}", 1, &["missing field `layers`"]);
    refused("[\n]", 1, &["none of its plans has \"input\": \""]);
    // NaN and infinities are no JSON; 1e400 is, but no number.
    for eps in ["NaN", "Infinity", "1e400"] {
        refused(&format!("{{\"version\": 1, \"layers\": [\n{{\"eps\":\n {eps}}}]}}"), 3, &["not a "]);
    }
}

#[test]
fn unknown_and_repeated_keys_are_refused_where_they_stand() {
    refused("{\"version\": 1,\n\"layer\":\n[]}", 2, &["unknown field `layer`"]);
    refused("{\"version\": 1, \"layers\": [],\n\"layers\": []}", 2, &["duplicate field `layers`"]);
    let layer = "{\"version\": 1, \"layers\": [\n\n{\"norm\": \"bn\", \"action\": \"keep\",\n\"esp\": 1}\n]}";
    refused(layer, 4, &["not a layer of a plan: unknown field `esp`, expected one of"]);
    refused(&layer.replace("\"esp\": 1", "\"norm\": \"bn\""), 4, &["duplicate field `norm`"]);
    refused(&layer.replace("\"esp\": 1", "\"eps\": \"1e-5\""), 4, &["invalid type: string"]);
    refused(
        &layer.replace("\"keep\"", "\"skip\"").replace("\n\"esp\": 1", "\"eps\": 1"),
        3,
        &["unknown variant `skip`"],
    );
}

#[test]
fn a_plan_of_another_version_is_refused() {
    refused("{\n\"version\": 2, \"layers\": []}", 2, &["a plan of version 2, and this program reads version 1"]);
    refused("[{\"version\": 1, \"layers\": []}\n,{\n\n\"version\": 0, \"layers\": []}]", 1, &["none of its plans"]);
    refused("{\"version\": 1.5, \"layers\": []}", 1, &["a plan of version 1.5"]);
}

#[test]
fn norms_that_are_not_there_or_come_twice_are_refused() {
    for action in ["keep", "fold"] {
        let layer = json!({"norm": "bn9", "action": action, "weight": "fc.weight"});
        refused(&with_layer(&layer), 4, &["`bn9`: the checkpoint has no"]);
    }
    for layer in
        [json!({"norm": "bn", "action": "keep"}), json!({"norm": "bn", "action": "fold", "weight": "fc.weight"})]
    {
        refused(&with_layer(&layer), 4, &["norm `bn` has two lines"]);
    }
    let layer = json!({"norm": "uneven", "action": "fold", "weight": "fc.weight"});
    refused(&with_layer(&layer), 4, &["`uneven.running_mean` has shape [3], but its running variance has [4]"]);
}

#[test]
fn weights_that_cannot_take_a_norm_are_refused() {
    line_refused("none.weight", json!({}), &["the checkpoint has no weight `none.weight`"]);
    line_refused("table", json!({}), &["`table`"]);
    line_refused("bn3.weight", json!({}), &["`bn3.weight`"]);
    line_refused("conv.weight", json!({}), &["weight `conv.weight` feeds norm `bn` already"]);
    line_refused("tied.weight", json!({}), &["`tied.weight` is shared: `__metadata__` lists other names for it"]);
    line_refused("int8.weight", json!({}), &["`int8.weight` is stored as I8, which cannot be scaled"]);
    line_refused("fp8.weight", json!({}), &["`fp8.weight` is stored as F8_E4M3, which cannot be scaled"]);
    let layer = json!({"norm": "bn2", "action": "fold"});
    refused(&with_layer(&layer), 4, &["a fold needs a \"weight\""]);
    let layer = json!({"norm": "bn3", "action": "fold", "weight": "fc.weight"});
    refused(&with_layer(&layer), 4, &["weight `fc.weight` of shape [4, 5] has no 3 output channels"]);
}

#[test]
fn what_a_line_states_must_be_true() {
    line_refused("fc.weight", json!({"channels": 5}), &["5 channels are planned, but the norm has 4"]);
    line_refused("fc.weight", json!({"dtype": "F16"}), &["dtype F16 is planned, but the weight is F32"]);
    line_refused("fc.weight", json!({"groups": 2}), &["2 groups are planned, but the shapes give 1"]);
    line_refused("up.weight", json!({"op": "conv_transpose", "groups": 1}), &["but the shapes give 2"]);
    line_refused("fc.weight", json!({"op": "conv"}), &["shape [4, 5] with 4 output channels can be linear, not conv"]);
    line_refused("up.weight", json!({"op": "conv"}), &["can be conv_transpose, not conv"]);
    line_refused("square.weight", json!({}), &["can be conv or conv_transpose: add an \"op\""]);
    line_refused(
        "fc.weight",
        json!({"bias_exists": true}),
        &["bias `fc.bias` does not exist, but the plan says it does"],
    );
    let words = ["bias `biased.bias` exists, but the plan says it does not"];
    line_refused("biased.weight", json!({"bias_exists": false}), &words);
    line_refused("fc.weight", json!({"eps": -1e-5}), &["eps -0.00001 is not a finite number of at least 0"]);
}

#[test]
fn a_bias_that_is_something_else_is_refused() {
    // A tensor of a norm, folded or kept; another layer's bias; a new tensor, while the layer goes on adding its own.
    let others =
        ["bn2.bias", "bn2.running_var", "__metadata__", "bn.bias", "bn.running_mean", "biased.bias", "new.bias"];
    for bias in others {
        let exists = !["__metadata__", "new.bias"].contains(&bias);
        let words = format!("`{bias}` is not the bias of weight `fc.weight`, which is `fc.bias`");
        line_refused("fc.weight", json!({"bias": bias, "bias_exists": exists}), &[&words]);
    }
    let words = ["`new.bias` is not the bias of weight `biased.weight`, which is `biased.bias`"];
    line_refused("biased.weight", json!({"bias": "new.bias"}), &words);
}

#[test]
fn what_is_not_supported_is_refused_and_not_done_otherwise() {
    let words = ["folding forward or into several sources is not supported; set its action to \"keep\""];
    line_refused("fc.weight", json!({"direction": "forward"}), &words);
    line_refused("fc.weight", json!({"direction": "sideways"}), &words);
    line_refused("fc.weight", json!({"sources": [{"weight": "fc.weight", "channels": [0, 2]}]}), &words);
}

#[test]
fn of_several_plans_the_one_for_the_input_is_followed() {
    let folder = Folder::new();
    let inputs = ["a.safetensors", "b.safetensors"].map(|name| folder.file(name, &Model::conv_bn()));
    let printed =
        bnfold(&[&"plan", &"--format", &"json", &"--eps", &"1e-5", &"--input", &inputs[0], &inputs[1]]).expect(0);
    assert_eq!(printed.json().as_array().unwrap().len(), 2);
    let mut plans = printed.json();
    for (index, plan) in plans.as_array_mut().unwrap().iter_mut().enumerate() {
        assert_eq!(plan["input"], json!(inputs[index].to_str().unwrap()));
        plan["layers"] = match index {
            0 => json!([{"norm": "bn", "action": "keep", "reason": "so that it shows"}]),
            _ => json!([{"norm": "bn", "action": "fold", "weight": "conv.weight"}]),
        };
    }
    let file = folder.text("plans.json", serde_json::to_string_pretty(&plans).unwrap());
    let run =
        bnfold(&[&"--device", &"cpu", &"--format", &"json", &"--plan", &file, &"--input", &inputs[0], &inputs[1]])
            .expect(0);
    let reports = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    let kept = json!([{"norm": "bn", "template": "bn", "code": "plan", "reason": "so that it shows"}]);
    assert_eq!(reports[0]["kept"], kept);
    assert_eq!(reports[1]["layers"], json!({"folded": 1, "kept": 0}));
    // A model that no plan is for is refused; a line within the array is counted from the top of the file.
    let other = folder.file("c.safetensors", &Model::conv_bn());
    fold(&other, &[&"--plan", &file]).error(1, &["plans.json:1: ", "c.safetensors"]);
    let broken = std::fs::read_to_string(&file).unwrap().replace("conv.weight", "none.weight");
    let line = broken.lines().position(|line| line.contains("none.weight")).unwrap() - 3 + 1;
    let file = folder.text("plans.json", broken);
    fold(&inputs[1], &[&"--plan", &file, &"--force"]).error(1, &[&format!("plans.json:{line}: ")]);
}
