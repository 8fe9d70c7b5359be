use crate::gaussians::gaussian;
use ct_eval::{Error, Metric, Samples, Settings, Space, evaluate, nearest, precision_recall};

#[test]
fn a_set_covers_itself_and_nothing_far_away() {
    let x = gaussian(&[0.0; 5], &[1.0; 5], 100, 0);
    let same = precision_recall(&x, &x, 3).unwrap();
    assert_eq!((same.precision, same.recall), (1.0, 1.0));
    let far = precision_recall(&x, &gaussian(&[50.0; 5], &[1.0; 5], 80, 1), 3).unwrap();
    assert_eq!((far.precision, far.recall), (0.0, 0.0));
}

#[test]
fn a_collapsed_model_is_precise_but_recalls_little() {
    let real = gaussian(&[0.0; 2], &[1.0; 2], 500, 2);
    let collapsed = gaussian(&[0.0; 2], &[0.05; 2], 500, 3);
    let found = precision_recall(&real, &collapsed, 3).unwrap();
    assert!(found.precision > 0.9 && found.recall < 0.1, "{found:?}");
}

#[test]
fn neighbours_are_exact_ordered_and_take_the_first_of_equals() {
    let references = Samples::new(vec![1.0, 0.0, -1.0, 0.0, 0.0, 3.0], 2).unwrap();
    let queries = Samples::new(vec![0.0, 0.0, 0.0, 2.5], 2).unwrap();
    let found = nearest(&queries, &references, 3).unwrap();
    let indices: Vec<Vec<usize>> = found.iter().map(|row| row.iter().map(|n| n.index).collect()).collect();
    assert_eq!(indices, [[0, 1, 2], [2, 0, 1]]);
    assert!((found[1][0].distance - 0.5).abs() < 1e-12);
    assert!(matches!(nearest(&queries, &references, 4), Err(Error::Setting { .. })));
    assert!(matches!(nearest(&queries, &references, 0), Err(Error::Setting { .. })));
}

#[test]
fn a_full_report_names_every_figure() {
    let (x, y) = (gaussian(&[0.0; 2], &[1.0; 2], 60, 4), gaussian(&[0.0; 2], &[1.0; 2], 50, 5));
    let settings = Settings { num_subsets: 5, subset_size: 40, ..Settings::default() };
    let space = Space::Features("digits".into());
    let report = evaluate(&x, &y, &Metric::ALL, &space, &settings).unwrap();
    let names: Vec<&str> = report.figures.iter().map(|figure| figure.name.as_str()).collect();
    assert_eq!(
        names,
        ["FD-digits", "KID-digits", "precision-digits", "recall-digits", "SWD-digits", "MMD2-energy-digits"]
    );
    assert!(matches!("fid".parse::<Metric>(), Err(Error::UnknownMetric { .. })));
    for metric in Metric::ALL {
        assert_eq!(metric.name().parse::<Metric>().unwrap(), metric);
    }
}

#[test]
fn large_sets_are_compared_in_parts_that_are_averaged() {
    let x = gaussian(&[0.0; 2], &[1.0; 2], 130, 6);
    let y = gaussian(&[0.5; 2], &[1.0; 2], 95, 7);
    let metrics = [Metric::SlicedWasserstein, Metric::Mmd];
    let report = |x: &Samples, y: &Samples, set_size: usize| {
        let settings = Settings { set_size, ..Settings::default() };
        evaluate(x, y, &metrics, &Space::Points, &settings).unwrap().figures
    };
    let part = |set: &Samples, idx: usize| {
        let rows: Vec<f32> = set.rows().skip(idx * 40).take(40).flatten().copied().collect();
        Samples::new(rows, 2).unwrap()
    };
    let parts = [0, 1].map(|idx| report(&part(&x, idx), &part(&y, idx), 40));
    for (idx, whole) in report(&x, &y, 40).iter().enumerate() {
        let [a, b] = [&parts[0][idx], &parts[1][idx]];
        assert_eq!((a.std, b.std), (None, None), "one set has no deviation");
        assert!((whole.value - f64::midpoint(a.value, b.value)).abs() < 1e-12, "{whole:?}");
        // Of two values the deviation is their distance over the square root of 2.
        assert!((whole.std.unwrap() - (a.value - b.value).abs() / 2f64.sqrt()).abs() < 1e-12, "{whole:?}");
    }
    assert_eq!(report(&x, &y, 90)[0].std, None);
    assert_eq!(report(&x, &y, 0)[0].std, None);
}
