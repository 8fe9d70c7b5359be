//! Ten steps of each recipe against a float64 reference of our own: objective, gradients, `RAdam` and the averaged target
//! together, on recorded samples, noise and noise levels.

use candle_core::Tensor;
use ct_kernels::{Metric, RAdamStep, Tape, distance, ema_update, radam_step};
use ct_model::{Parameterization, Params};
use ct_train::{Cd, CdConfig, Difference, Examples, Objective, Pair, Scm, ScmConfig, TangentNorm, Training};
use serde_json::Value;

use crate::common::{Golden, assert_close, flat};
use crate::two_layers::{Recorded, TwoLayers, metric, range, teacher};

const STEPS: usize = 10;

/// A case of the recording.
struct Case {
    golden: Golden,
    name: &'static str,
    facts: Value,
}

impl Case {
    fn read(name: &'static str) -> Self {
        let golden = Golden::read("ten_steps");
        let facts = golden.note("cases")[name].clone();
        Self { golden, name, facts }
    }

    fn get(&self, key: &str) -> &Tensor {
        self.golden.get(&format!("{}.{key}", self.name))
    }

    fn number(&self, key: &str) -> f64 {
        self.facts[key].as_f64().unwrap()
    }

    fn is_trigflow(&self) -> bool {
        self.facts.get("normalized_by").is_some()
    }

    fn row(&self, key: &str, step: usize) -> Vec<f64> {
        self.get(key).get(step).unwrap().to_vec1().unwrap()
    }

    fn pairs(&self, step: usize) -> Vec<Pair> {
        let t = self.row("t", step);
        if self.is_trigflow() {
            let sigma_data = range(&self.golden).sigma_data;
            // The loss is a mean over the five values of a sample.
            return t
                .iter()
                .map(|t| Pair { sigma_hi: sigma_data * t.tan(), sigma_lo: None, weight: 0.2 })
                .collect();
        }
        let rows = t.into_iter().zip(self.row("r", step)).zip(self.row("weight", step));
        rows.map(|((sigma_hi, r), weight)| Pair { sigma_hi, sigma_lo: (r > 0.0).then_some(r), weight })
            .collect()
    }

    fn examples(&self, step: usize) -> Examples {
        let of = |key| self.golden.f32(key).get(step).unwrap().contiguous().unwrap();
        let pairs = self.pairs(step);
        let images = (0..pairs.len() as u64).collect();
        Examples { x0: of("x0"), noise: of("z"), pairs, labels: None, augment_labels: None, images }
    }

    fn parameterization(&self) -> Parameterization {
        match self.name {
            "edm" => Parameterization::Edm,
            _ if self.is_trigflow() => Parameterization::Trigflow,
            _ => Parameterization::Consistency,
        }
    }

    fn objective(&self) -> Box<dyn Objective> {
        let range = range(&self.golden);
        if self.is_trigflow() {
            let config = ScmConfig {
                tangent_warmup_steps: self.facts["tangent_warmup_steps"].as_u64().unwrap(),
                tangent_norm: if self.facts["normalized_by"] == "rms" {
                    TangentNorm::Rms
                } else {
                    TangentNorm::L2
                },
                tangent_c: self.number("tangent_c"),
                ..ScmConfig::default()
            };
            return Box::new(if self.facts["teacher"] == true {
                let teacher = teacher(&self.golden, 1.0, Parameterization::Trigflow);
                Scm::distillation(&config, range, 100, 5, teacher).unwrap()
            } else {
                Scm::training(&config, range, 100, 5).unwrap()
            });
        }
        let metric = match self.facts["distance"].as_str().unwrap() {
            "huber" => Metric::PseudoHuber { c: self.number("c") },
            _ => Metric::L2,
        };
        if self.facts["teacher"] == true {
            let teacher = teacher(&self.golden, 1e-3, Parameterization::Edm);
            return Box::new(
                Cd::new(&CdConfig::default(), range, teacher, Difference::Values(metric)).unwrap(),
            );
        }
        Box::new(Recorded(metric))
    }
}

/// Weights with the moments of their gradients.
struct Student {
    params: Params,
    moments: Vec<[Tensor; 2]>,
}

impl Student {
    fn new(params: Params) -> Self {
        let zeros =
            |(_, tensor): (&str, &Tensor)| [tensor.zeros_like().unwrap(), tensor.zeros_like().unwrap()];
        let moments = params.iter().map(zeros).collect();
        Self { params, moments }
    }

    fn step(&self, gradients: &[Tensor], rule: &RAdamStep) {
        for (((_, param), gradient), [m, v]) in self.params.iter().zip(gradients).zip(&self.moments) {
            radam_step(param, m, v, gradient, rule).unwrap();
        }
    }
}

fn check(name: &'static str) {
    let case = Case::read(name);
    let network = TwoLayers::new(if case.is_trigflow() { 1.0 } else { 1e-3 });
    let preconditioning = case.parameterization().preconditioning(&range(&case.golden)).unwrap();
    let training = Training { network: &network, preconditioning, augment_weight: None, seed: 0 };
    let objective = case.objective();
    let radam = case.golden.note("optimizer");
    let of = |key: &str| radam[key].as_f64().unwrap();
    let beta = |idx: usize| radam["betas"][idx].as_f64().unwrap();
    let tolerances = case.golden.note("tolerances");

    let student = Student::new(network.params(&case.golden, "student"));
    let average = network.params(&case.golden, "student");
    let averaged = case.facts["target"] == "ema";
    let expected: Vec<f64> = case.get("losses").to_vec1().unwrap();
    for (step, expected) in expected.into_iter().enumerate() {
        let (step_number, examples) = (step as u64, case.examples(step));
        let weights = if averaged { &average } else { &student.params };
        let target = objective.target(step_number, &training, &weights.constants(), &examples).unwrap();
        let tape = Tape::new();
        let estimate = objective.estimate(&training, &student.params.watched(&tape), &examples).unwrap();
        let weights: Vec<f64> = examples.pairs.iter().map(|pair| pair.weight).collect();
        let loss = distance(&estimate, &target, metric(&*objective, step_number), &weights).unwrap();
        let gradients = tape.backward(&loss).unwrap();
        let gradients: Vec<Tensor> =
            (0..student.moments.len()).map(|idx| gradients.leaf(idx).unwrap().clone()).collect();

        let got = flat(loss.tensor())[0];
        let tolerance = tolerances["f32_losses"].as_f64().unwrap();
        assert!(
            (got - expected).abs() <= tolerance * expected,
            "{name}, step {step}: {got}, expected {expected}"
        );
        student.step(
            &gradients,
            &RAdamStep {
                lr: of("lr"),
                beta1: beta(0),
                beta2: beta(1),
                eps: of("eps"),
                weight_decay: of("weight_decay"),
                step: step_number + 1,
            },
        );
        if averaged {
            for ((_, average), (_, param)) in average.iter().zip(student.params.iter()) {
                ema_update(average, param, case.number("mu")).unwrap();
            }
        }
    }

    let tolerance = tolerances["f32_params"].as_f64().unwrap();
    for (param, tensor) in student.params.iter() {
        assert_close(&format!("{name}: {param}"), tensor, case.get(&format!("params.{param}")), tolerance);
    }
    if averaged {
        for (param, tensor) in average.iter() {
            assert_close(
                &format!("{name}: target {param}"),
                tensor,
                case.get(&format!("target.{param}")),
                tolerance,
            );
        }
    }
}

#[test]
fn recording_has_ten_steps() {
    let case = Case::read("ct");
    assert_eq!(case.get("losses").dims(), [STEPS]);
    assert_eq!(case.golden.note("cases").as_object().unwrap().len(), 8);
}

#[test]
fn consistency_training() {
    check("ct");
    check("ict");
    check("ect");
}

#[test]
fn consistency_distillation() {
    check("cd");
}

#[test]
fn a_denoiser() {
    check("edm");
}

#[test]
fn continuous_time() {
    check("sct");
    check("sct_rms");
    check("scd");
}
