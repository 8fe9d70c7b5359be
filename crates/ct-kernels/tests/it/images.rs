//! Layouts, resampling, concatenation.

use candle_core::Device;
use ct_kernels as k;

use crate::harness::{assert_close, check, elements, noise, test_device};

fn layouts(device: &Device) {
    for dims in [[1, 1, 1, 1], [2, 3, 4, 5], [1, 17, 3, 2]] {
        let x = noise(1, &dims, device);
        let want = x.permute((0, 2, 3, 1)).unwrap();
        let got = k::to_channels_last(&(&x).into()).unwrap();
        assert_eq!(got.dims(), want.dims());
        assert_close("to_channels_last", &elements(got.tensor()), &elements(&want), 0.0);
        let back = k::to_channels_first(&got).unwrap();
        assert_close("to_channels_first", &elements(back.tensor()), &elements(&x), 0.0);
        check("to_channels_last", &|x| k::to_channels_last(&x[0]), std::slice::from_ref(&x));
        check("to_channels_first", &|x| k::to_channels_first(&x[0]), std::slice::from_ref(&x));
        let count = x.elem_count();
        check("reshape", &|x| k::reshape(&x[0], &[1, count]), &[x]);
    }
}
test_device!(layouts_cpu, layouts);

fn upsample(device: &Device) {
    for dims in [[1, 1, 1, 1], [2, 3, 2, 5], [1, 2, 3, 17]] {
        let x = noise(1, &dims, device);
        let want = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let want = want.upsample_nearest2d(2 * dims[1], 2 * dims[2]).unwrap();
        let want = want.permute((0, 2, 3, 1)).unwrap();
        let got = k::upsample_nearest2x(&(&x).into()).unwrap();
        assert_close("upsample", &elements(got.tensor()), &elements(&want), 0.0);
        check("upsample_nearest2x", &|x| k::upsample_nearest2x(&x[0]), &[x]);
    }
}
test_device!(upsample_cpu, upsample);

fn avg_pool(device: &Device) {
    for dims in [[1, 2, 2, 1], [2, 4, 6, 5], [1, 5, 3, 17]] {
        let x = noise(1, &dims, device);
        let want = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let want = want.avg_pool2d(2).unwrap().permute((0, 2, 3, 1)).unwrap();
        let got = k::avg_pool2x(&(&x).into()).unwrap();
        assert_eq!(got.dims(), want.dims());
        assert_close("avg_pool2x", &elements(got.tensor()), &elements(&want), 1e-15);
        check("avg_pool2x", &|x| k::avg_pool2x(&x[0]), &[x]);
    }
    assert!(k::avg_pool2x(&noise(1, &[1, 1, 4, 2], device).into()).is_err());
}
test_device!(avg_pool_cpu, avg_pool);

fn concat(device: &Device) {
    let (a, b, c) =
        (noise(1, &[2, 3, 2, 5], device), noise(2, &[2, 3, 2, 1], device), noise(3, &[2, 3, 2, 16], device));
    let want = candle_core::Tensor::cat(&[&a, &b, &c], 3).unwrap();
    let inputs = [a, b, c];
    let values = inputs.each_ref().map(k::Value::from);
    let got = k::concat_channels(&values.each_ref()).unwrap();
    assert_close("concat", &elements(got.tensor()), &elements(&want), 0.0);
    check("concat", &|x| k::concat_channels(&x.iter().collect::<Vec<_>>()), &inputs);
    assert!(k::concat_channels(&[]).is_err());
    assert!(k::concat_channels(&[&values[0], &noise(1, &[2, 2, 2, 5], device).into()]).is_err());
}
test_device!(concat_cpu, concat);
