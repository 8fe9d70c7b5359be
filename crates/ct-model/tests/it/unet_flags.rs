//! Every block type and flag of diffusers' UNet, one small recording each; the table of docs/interop.md.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use ct_kernels::{Tape, Value, mul, sum_all};
use ct_model::{Input, Network, Params, UNet2D, UNet2DConfig, Weights};

use crate::golden::{Golden, assert_close, folder, largest};

struct Case {
    golden: Golden,
    network: UNet2D,
    params: Params,
    labels: Option<Vec<u32>>,
    embedding: Option<Value>,
}

impl Case {
    fn read(name: &str) -> Self {
        let golden = Golden::read_file(&folder().join("unet_flags").join(format!("{name}.safetensors")));
        let config: UNet2DConfig = serde_json::from_value(golden.note("config")).unwrap();
        let network = UNet2D::new(&config).unwrap_or_else(|error| panic!("{name}: {error}"));
        // The recorded weights are float16.
        let params = Params::from_tensors(network.layout(), golden.below("weights."), &Device::Cpu)
            .unwrap()
            .unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        let given = golden.find("class_labels");
        // Two dimensions are an embedding, one is labels.
        let embedding = given.filter(|given| given.rank() == 2).map(Value::from);
        let labels = given.filter(|given| given.rank() == 1);
        let labels = labels.map(|labels| labels.to_dtype(DType::U32).unwrap().to_vec1().unwrap());
        Self { golden, network, params, labels, embedding }
    }

    fn forward(&self, weights: &Weights, x: &Value) -> Value {
        let c_noise = self.golden.get("timestep").into();
        let input = Input {
            x,
            c_noise: &c_noise,
            class_labels: self.labels.as_deref(),
            dropout: None,
            extra_embedding: self.embedding.as_ref(),
        };
        self.network.forward(weights, &input).unwrap()
    }

    fn tolerance(&self, kind: &str) -> f64 {
        self.golden.note("tolerances")[kind].as_f64().unwrap()
    }

    /// The largest absolute difference of the output, and the largest absolute value.
    fn difference(&self) -> (f64, f64) {
        let output = self.forward(&self.params.constants(), &self.golden.get("sample").into());
        let expected = self.golden.get("output");
        assert_eq!(output.dims(), expected.dims());
        (largest([&(output.tensor() - expected).unwrap()]), largest([expected]))
    }

    fn check_gradients(&self) {
        let tape = Tape::new();
        let weights = self.params.watched(&tape);
        let x = tape.leaf(self.golden.get("sample"));
        let output = self.forward(&weights, &x);
        let loss = sum_all(&mul(&output, &self.golden.get("grad_output").into()).unwrap()).unwrap();
        let gradients = tape.backward(&loss).unwrap();
        let (tolerance, expected) = (self.tolerance("grads"), self.golden.below("grads."));
        // One scale for all: the gradient by the bias of the keys is nothing but rounding.
        let scale = largest(expected.values());
        let mut num_compared = 0;
        for (idx, (name, param)) in self.params.iter().enumerate() {
            let Some(expected) = expected.get(name) else { continue };
            let zeros = Tensor::zeros_like(param).unwrap();
            assert_close(name, gradients.leaf(idx).unwrap_or(&zeros), expected, tolerance, scale);
            num_compared += 1;
        }
        assert_eq!(num_compared, expected.len(), "every recorded gradient has its parameter");
        let of_x = gradients.leaf(self.params.layout().len()).unwrap();
        let expected = self.golden.get("grad_sample");
        assert_close("gradient of the input", of_x, expected, tolerance, largest([expected]));
    }
}

fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder().join("unet_flags")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<String> =
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "safetensors")).map(stem).collect();
    names.sort();
    names
}

/// The rows of docs/interop.md: `cargo test -p ct-model --test it -- --nocapture every_block_type_and_flag`.
#[test]
fn every_block_type_and_flag() {
    let mut table = String::from("| case | max abs | relative |\n| --- | --- | --- |\n");
    let mut failures = BTreeMap::new();
    let names = names();
    for name in &names {
        let case = Case::read(name);
        let (error, scale) = case.difference();
        let relative = error / scale;
        writeln!(table, "| {name} | {error:.1e} | {relative:.1e} |").unwrap();
        if relative > case.tolerance("output") || relative.is_nan() {
            failures.insert(name.clone(), relative);
        }
    }
    println!("{table}");
    assert!(failures.is_empty(), "{failures:?}");
    assert!(names.len() >= 37, "a recording is missing: {names:?}");
}

#[test]
fn gradients_with_a_skip_path() {
    Case::read("skip_down_block").check_gradients();
}

#[test]
fn gradients_with_mish() {
    Case::read("act_mish").check_gradients();
}

#[test]
fn a_learned_embedding_takes_whole_time_steps() {
    let case = Case::read("time_learned");
    let x = Value::from(case.golden.get("sample"));
    let message = |times: [f32; 2], tangent: bool| {
        let times = Tensor::new(&times, &Device::Cpu).unwrap();
        let times = if tangent {
            Value::dual(times.clone(), times.ones_like().unwrap()).unwrap()
        } else {
            times.into()
        };
        let input =
            Input { x: &x, c_noise: &times, class_labels: None, dropout: None, extra_embedding: None };
        case.network.forward(&case.params.constants(), &input).unwrap_err().to_string()
    };
    assert!(message([0.5, 1.0], false).contains("the time is 0.5"));
    assert!(message([0.0, 10.0], false).contains("0 to 9"));
    assert!(message([-1.0, 0.0], false).contains("the time is -1"));
    assert!(message([1.0, 2.0], true).contains("derivative"));
}

#[test]
fn a_class_that_the_network_cannot_embed_is_refused() {
    let run = |name: &str, labels: Option<&[u32]>| {
        let case = Case::read(name);
        let (x, c_noise) = (case.golden.get("sample").into(), case.golden.get("timestep").into());
        let input =
            Input { x: &x, c_noise: &c_noise, class_labels: labels, dropout: None, extra_embedding: None };
        case.network.forward(&case.params.constants(), &input).unwrap_err().to_string()
    };
    assert!(run("class_identity", Some(&[1, 2])).contains("extra embedding"));
    assert!(run("class_identity", None).contains("extra embedding"));
    assert!(run("class_timestep", None).contains("no labels came"));
    assert!(run("class_timestep", Some(&[1])).contains("1 labels for a batch of 2"));
    assert!(run("class_table", Some(&[1, 5])).contains("label 5"));
}
