//! The UNet against diffusers: outputs, gradients of every parameter, forward-mode derivatives.

use candle_core::{DType, Device, Tensor};
use ct_kernels::{Tape, Value, mul, sum_all};
use ct_model::{Input, Network, Params, UNet2D, UNet2DConfig};

use crate::golden::{Golden, assert_close, largest};

struct Case {
    golden: Golden,
    network: UNet2D,
    params: Params,
    labels: Option<Vec<u32>>,
}

impl Case {
    fn read(name: &str) -> Self {
        let golden = Golden::read(name);
        let config: UNet2DConfig = serde_json::from_value(golden.note("config")).unwrap();
        let network = UNet2D::new(&config).unwrap();
        let weights = golden.below("weights.");
        let params = Params::from_tensors(network.layout(), weights, &Device::Cpu).unwrap().unwrap();
        let labels =
            golden.find("class_labels").map(|labels| labels.to_dtype(DType::U32).unwrap().to_vec1().unwrap());
        Self { golden, network, params, labels }
    }

    fn tolerance(&self, kind: &str) -> f64 {
        self.golden.note("tolerances")[kind].as_f64().unwrap()
    }

    fn forward(&self, weights: &ct_model::Weights, x: &Value, c_noise: &Value) -> Value {
        let input =
            Input { x, c_noise, class_labels: self.labels.as_deref(), dropout: None, extra_embedding: None };
        self.network.forward(weights, &input).unwrap()
    }

    fn check_output(&self) {
        let (x, c_noise) = (self.golden.get("sample").into(), self.golden.get("timestep").into());
        let output = self.forward(&self.params.constants(), &x, &c_noise);
        let expected = self.golden.get("output");
        assert_close("output", output.tensor(), expected, self.tolerance("output"), largest([expected]));
    }

    fn check_gradients(&self) {
        let tape = Tape::new();
        let weights = self.params.watched(&tape);
        let x = tape.leaf(self.golden.get("sample"));
        let output = self.forward(&weights, &x, &self.golden.get("timestep").into());
        let loss = sum_all(&mul(&output, &self.golden.get("grad_output").into()).unwrap()).unwrap();
        let gradients = tape.backward(&loss).unwrap();
        let tolerance = self.tolerance("grads");
        let expected = self.golden.below("grads.");
        // One scale for all: the bias of the keys cancels in the softmax, so that its gradient is nothing but rounding.
        let scale = largest(expected.values());
        for (idx, (name, param)) in self.params.iter().enumerate() {
            let Some(expected) = expected.get(name) else { continue };
            let zeros = Tensor::zeros_like(param).unwrap();
            assert_close(name, gradients.leaf(idx).unwrap_or(&zeros), expected, tolerance, scale);
        }
        let of_x = gradients.leaf(self.params.layout().len()).unwrap();
        let expected = self.golden.get("grad_sample");
        assert_close("gradient of the input", of_x, expected, tolerance, largest([expected]));
    }

    fn check_jvp(&self) {
        let dual = |name: &str| {
            let tangent = self.golden.get(&format!("tangent_{name}"));
            Value::dual(self.golden.get(name).clone(), tangent.clone()).unwrap()
        };
        let output = self.forward(&self.params.constants(), &dual("sample"), &dual("timestep"));
        let tangent = output.tangent().expect("a dual input has a dual output");
        let expected = self.golden.get("jvp_output");
        assert_close("tangent", tangent, expected, self.tolerance("jvp_output"), largest([expected]));
    }
}

fn check(name: &str) {
    let case = Case::read(name);
    case.check_output();
    case.check_gradients();
    case.check_jvp();
}

#[test]
fn default_blocks_with_attention() {
    check("unet_default");
}

#[test]
fn scale_shift_resnet_resampling_and_classes() {
    check("unet_scale_shift");
}

#[test]
fn fourier_embedding_and_asymmetric_padding() {
    check("unet_fourier");
}

#[test]
fn the_layout_of_the_published_models() {
    check("unet_openai");
}

#[test]
fn centred_input_scaled_middle_and_other_options() {
    check("unet_options");
}

#[test]
fn the_layout_of_the_presets_at_angles() {
    check("unet_preset");
}

#[test]
fn double_norm() {
    check("unet_double_norm");
}
