//! Sums, products, SiLU, reductions, embedding, linear.

use candle_core::{Device, Tensor};
use ct_kernels as k;

use crate::harness::{assert_close, check, elements, noise, test_device};

fn arithmetic(device: &Device) {
    // The last shape is longer than a block and not a multiple of it.
    for dims in [vec![1], vec![3, 5], vec![2, 3, 1, 17], vec![2, 9000]] {
        let (a, b) = (noise(1, &dims, device), noise(2, &dims, device));
        let both = [a.clone(), b.clone()];
        check("add", &|x| k::add(&x[0], &x[1]), &both);
        check("mul", &|x| k::mul(&x[0], &x[1]), &both);
        check("silu", &|x| k::silu(&x[0]), &both[..1]);
        check("scale", &|x| k::scale(&x[0], -1.7), &both[..1]);
        let factors: Vec<f64> = (0..dims[0]).map(|b| b as f64 - 0.3).collect();
        check("scale_samples", &|x| k::scale_samples(&x[0], &factors), &both[..1]);
        check("sum_all", &|x| k::sum_all(&x[0]), &both[..1]);
        check("mean_all", &|x| k::mean_all(&x[0]), &both[..1]);

        let got = elements(k::silu(&a.clone().into()).unwrap().tensor());
        let want: Vec<f64> = elements(&a).iter().map(|x| x / (1.0 + (-x).exp())).collect();
        assert_close("silu", &got, &want, 1e-14);
    }
}
test_device!(arithmetic_cpu, arithmetic);

fn silu_far_from_zero(device: &Device) {
    let x = Tensor::new(&[-1000.0f32, -90.0, 0.0, 90.0, 1000.0], device).unwrap();
    let y = elements(k::silu(&x.into()).unwrap().tensor());
    assert_close("silu", &y, &[0.0, 0.0, 0.0, 90.0, 1000.0], 1e-30);
}
test_device!(silu_far_from_zero_cpu, silu_far_from_zero);

fn curves(device: &Device) {
    for dims in [vec![1], vec![3, 5], vec![2, 9000]] {
        let x = noise(1, &dims, device);
        check("gelu", &|x| k::gelu(&x[0]), std::slice::from_ref(&x));
        check("mish", &|x| k::mish(&x[0]), std::slice::from_ref(&x));
        let mish: Vec<f64> = elements(&x).iter().map(|x| x * x.exp().ln_1p().tanh()).collect();
        assert_close("mish", &elements(k::mish(&(&x).into()).unwrap().tensor()), &mish, 1e-14);
    }
    // The GELU of these, from the error function of another library.
    let x = Tensor::new(&[-2.5f64, -1.0, 0.5, 1.0, 3.0], device).unwrap();
    let gelu = [
        -0.015_524_163_314_440_348,
        -0.158_655_253_931_457_07,
        0.345_731_230_637_006_56,
        0.841_344_746_068_542_9,
        2.995_950_305_905_11,
    ];
    assert_close("gelu", &elements(k::gelu(&x.into()).unwrap().tensor()), &gelu, 1e-15);
    // Far from zero neither the values nor the slopes are lost.
    let far = Tensor::new(&[-1000.0f32, -90.0, 0.0, 90.0, 1000.0], device).unwrap();
    for f in [k::gelu, k::mish] {
        let dual = k::Value::dual(far.clone(), far.ones_like().unwrap()).unwrap();
        let y = f(&dual).unwrap();
        assert_close("far", &elements(y.tensor()), &[0.0, 0.0, 0.0, 90.0, 1000.0], 1e-30);
        let slope = elements(y.tangent().unwrap());
        let slope = [slope[0], slope[1], slope[3], slope[4]];
        assert_close("far slope", &slope, &[0.0, 0.0, 1.0, 1.0], 1e-30);
    }
}
test_device!(curves_cpu, curves);

fn a_value_used_twice(device: &Device) {
    let x = noise(1, &[2, 7], device);
    // Three uses: the first gradient is moved, the second added, the third added in place.
    check("x x + x", &|x| k::add(&k::mul(&x[0], &x[0])?, &x[0]), std::slice::from_ref(&x));
    check("x + x", &|x| k::add(&x[0], &x[0]), &[x]);
}
test_device!(a_value_used_twice_cpu, a_value_used_twice);

fn add_channels(device: &Device) {
    for dims in [[1, 1, 1, 1], [2, 3, 2, 17], [3, 1, 5, 16]] {
        let x = noise(1, &dims, device);
        let t = noise(2, &[dims[0], dims[3]], device);
        let want = x.broadcast_add(&t.reshape((dims[0], 1, 1, dims[3])).unwrap()).unwrap();
        let got = k::add_channels(&(&x).into(), &(&t).into()).unwrap();
        assert_close("add_channels", &elements(got.tensor()), &elements(&want), 0.0);
        check("add_channels", &|x| k::add_channels(&x[0], &x[1]), &[x, t]);
    }
}
test_device!(add_channels_cpu, add_channels);

fn linear(device: &Device) {
    for (leading, features, outputs) in
        [(vec![1], 1, 1), (vec![5], 7, 3), (vec![2, 3], 17, 33), (vec![2, 3, 5], 16, 4), (vec![600], 3, 2)]
    {
        let rows: usize = leading.iter().product();
        let x = noise(1, &[leading.clone(), vec![features]].concat(), device);
        let w = noise(2, &[outputs, features], device);
        let b = noise(3, &[outputs], device);
        let (xs, ws, bs) = (elements(&x), elements(&w), elements(&b));
        let want: Vec<f64> = (0..rows * outputs)
            .map(|at| {
                let (r, o) = (at / outputs, at % outputs);
                (0..features).map(|i| xs[r * features + i] * ws[o * features + i]).sum::<f64>() + bs[o]
            })
            .collect();
        let got = k::linear(&(&x).into(), &(&w).into(), Some(&(&b).into())).unwrap();
        assert_eq!(got.dims(), [leading, vec![outputs]].concat());
        assert_close("linear", &elements(got.tensor()), &want, 1e-13);
        check("linear", &|x| k::linear(&x[0], &x[1], Some(&x[2])), &[x.clone(), w.clone(), b]);
        check("linear without bias", &|x| k::linear(&x[0], &x[1], None), &[x, w]);
    }
}
test_device!(linear_cpu, linear);

fn embedding(device: &Device) {
    let table = noise(1, &[4, 3], device);
    let ids = [2, 0, 2, 3];
    let got = k::embedding(&(&table).into(), &ids).unwrap();
    let rows = Tensor::new(&ids, device).unwrap();
    let want = table.index_select(&rows, 0).unwrap();
    assert_close("embedding", &elements(got.tensor()), &elements(&want), 0.0);
    check("embedding", &|x| k::embedding(&x[0], &ids), std::slice::from_ref(&table));
    assert!(k::embedding(&table.into(), &[4]).is_err());
}
test_device!(embedding_cpu, embedding);

fn dropout(device: &Device) {
    let x = noise(1, &[2, 3], device);
    let mask = Tensor::new(&[[0.0, 2.0, 2.0], [2.0, 0.0, 0.0]], device).unwrap();
    let f = |x: &[k::Value]| k::dropout(&x[0], &mask.to_dtype(x[0].tensor().dtype())?);
    check("dropout", &f, &[x]);
}
test_device!(dropout_cpu, dropout);
