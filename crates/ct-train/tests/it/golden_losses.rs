//! The loss of each recipe against a float64 reference of our own, on a network that the test brings:
//! F(u, s) = W2 silu(W1 [u; s] + b1) + b2 with s = `c_noise` / 1000, and s = t in `TrigFlow`.

use candle_core::Tensor;
use ct_kernels::{Metric, Tape, distance};
use ct_model::{Parameterization, Params};
use ct_train::{Cd, CdConfig, Difference, Examples, Objective, Pair, Scm, ScmConfig, Training};

use crate::common::{Golden, assert_close};
use crate::two_layers::{Recorded, TwoLayers, metric, range, teacher};

/// The step at which objectives are asked.
const STEP: u64 = 3;

/// The recorded batch of a case, with these noise levels and weights.
fn examples(golden: &Golden, case: &str, pairs: Vec<Pair>) -> Examples {
    let images = (0..pairs.len() as u64).collect();
    let [x0, noise] = ["x0", "z"].map(|key| golden.f32(&format!("{case}.{key}")));
    Examples { x0, noise, pairs, labels: None, augment_labels: None, images }
}

/// The recorded noise levels and weights of a case.
fn pairs(golden: &Golden, case: &str) -> Vec<Pair> {
    let of = |key: &str| golden.f64s(&format!("{case}.{key}"));
    let levels = of("t").into_iter().zip(of("r"));
    levels
        .zip(of("weight"))
        .map(|((sigma_hi, r), weight)| Pair { sigma_hi, sigma_lo: (r > 0.0).then_some(r), weight })
        .collect()
}

/// Compares the target, the loss and all gradients of an objective with the recording.
fn compare(
    golden: &Golden,
    case: &str,
    objective: &dyn Objective,
    training: &Training<'_>,
    [student, teacher]: [&Params; 2],
    examples: &Examples,
) -> Tensor {
    let target = objective.target(STEP, training, &teacher.constants(), examples).unwrap();
    let tape = Tape::new();
    let estimate = objective.estimate(training, &student.watched(&tape), examples).unwrap();
    let weights: Vec<f64> = examples.pairs.iter().map(|pair| pair.weight).collect();
    let loss = distance(&estimate, &target, metric(objective, STEP), &weights).unwrap();
    let gradients = tape.backward(&loss).unwrap();

    let tolerance = golden.note("tolerances")["f32_differences"].as_f64().unwrap();
    assert_close("loss", loss.tensor(), golden.get(&format!("{case}.loss")), tolerance);
    for (idx, (param, _)) in student.iter().enumerate() {
        let expected = golden.get(&format!("{case}.grads.{param}"));
        assert_close(param, gradients.leaf(idx).unwrap(), expected, tolerance);
    }
    target
}

fn check(case: &str, teacher: &str, metric: Metric) {
    let golden = Golden::read("losses");
    let (network, range) = (TwoLayers::new(1e-3), range(&golden));
    let preconditioning = Parameterization::Consistency.preconditioning(&range).unwrap();
    let training = Training { network: &network, preconditioning, augment_weight: None, seed: 0 };
    let examples = examples(&golden, case, pairs(&golden, case));
    let (student, teacher) = (network.params(&golden, "student"), network.params(&golden, teacher));
    let target = compare(&golden, case, &Recorded(metric), &training, [&student, &teacher], &examples);
    let tolerance = golden.note("tolerances")["f32_estimates"].as_f64().unwrap();
    assert_close("target", &target, golden.get(&format!("{case}.target")), tolerance);
}

fn check_scm(case: &str, distilled: bool) {
    let golden = Golden::read("losses");
    let (network, range) = (TwoLayers::new(1.0), range(&golden));
    let preconditioning = Parameterization::Trigflow.preconditioning(&range).unwrap();
    let training = Training { network: &network, preconditioning, augment_weight: None, seed: 0 };
    // At step 3 of 10 the tangent's warm-up is at the recorded 0.3.
    let config = ScmConfig { tangent_warmup_steps: 10, ..ScmConfig::default() };
    let objective = if distilled {
        let teacher = teacher(&golden, 1.0, Parameterization::Trigflow);
        Scm::distillation(&config, range, 100, 5, teacher).unwrap()
    } else {
        Scm::training(&config, range, 100, 5).unwrap()
    };
    let sigma = golden.f64s(&format!("{case}.t")).into_iter().map(|t| range.sigma_data * t.tan());
    let pairs = sigma.map(|sigma_hi| Pair { sigma_hi, sigma_lo: None, weight: 0.2 }).collect();
    let examples = examples(&golden, case, pairs);
    let student = network.params(&golden, "student");
    let target = compare(&golden, case, &objective, &training, [&student, &student], &examples);
    let expected = (golden.get(&format!("{case}.raw")) + golden.get(&format!("{case}.g_l2"))).unwrap();
    let tolerance = golden.note("tolerances")["f32_differences"].as_f64().unwrap();
    assert_close("target", &target, &expected, tolerance);
}

fn huber(case: &str) -> Metric {
    Metric::PseudoHuber { c: Golden::read("losses").note("cases")[case]["c"].as_f64().unwrap() }
}

#[test]
fn ct_with_squared_distance() {
    check("ct_l2", "ema", Metric::L2);
}

#[test]
fn ct_with_absolute_distance() {
    check("ct_l1", "ema", Metric::L1);
}

#[test]
fn ict_with_pseudo_huber() {
    check("ict", "student", huber("ict"));
}

#[test]
fn ect_where_the_target_is_partly_the_clean_sample() {
    check("ect_first_stage", "student", huber("ect_first_stage"));
}

#[test]
fn ect_in_its_last_stage() {
    check("ect_last_stage", "student", huber("ect_last_stage"));
    check("ect_huber", "student", huber("ect_huber"));
}

#[test]
fn cd_with_a_heun_step_of_the_teacher() {
    let golden = Golden::read("losses");
    let (network, range) = (TwoLayers::new(1e-3), range(&golden));
    let preconditioning = Parameterization::Consistency.preconditioning(&range).unwrap();
    let training = Training { network: &network, preconditioning, augment_weight: None, seed: 0 };
    let teacher = teacher(&golden, 1e-3, Parameterization::Edm);
    let objective = Cd::new(&CdConfig::default(), range, teacher, Difference::SQUARES).unwrap();
    let examples = examples(&golden, "cd_l2", pairs(&golden, "cd_l2"));
    let (student, ema) = (network.params(&golden, "student"), network.params(&golden, "ema"));
    let target = compare(&golden, "cd_l2", &objective, &training, [&student, &ema], &examples);
    let tolerance = golden.note("tolerances")["f32_estimates"].as_f64().unwrap();
    assert_close("target", &target, golden.get("cd_l2.target"), tolerance);
}

#[test]
fn sct_with_the_exact_tangent() {
    check_scm("sct", false);
}

#[test]
fn scd_with_the_teachers_velocity() {
    check_scm("scd", true);
}
