//! Layouts, resampling, concatenation.

use candle_core::{Device, Tensor};
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

/// The definition: zeros between the pixels, zeros around them, the filter at every place, every `down`-th result.
fn up_fir_down(x: &Tensor, up: usize, down: usize, pads: (usize, usize), gain: f64) -> Vec<f64> {
    let (b, h, w, c) = x.dims4().unwrap();
    let pixels = elements(x);
    let at = |sample: usize, row: Option<usize>, column: Option<usize>, channel: usize| {
        let place = |idx: Option<usize>, len: usize| {
            let idx = idx.filter(|idx| idx.is_multiple_of(up))? / up;
            (idx < len).then_some(idx)
        };
        match (place(row, h), place(column, w)) {
            (Some(row), Some(column)) => pixels[((sample * h + row) * w + column) * c + channel],
            _ => 0.0,
        }
    };
    let filter = [1.0, 3.0, 3.0, 1.0];
    let size = |len: usize| (len * up + pads.0 + pads.1 - filter.len()) / down + 1;
    let mut out = Vec::new();
    for (sample, row) in (0..b).flat_map(|sample| (0..size(h)).map(move |row| (sample, row))) {
        for (column, channel) in (0..size(w)).flat_map(|column| (0..c).map(move |channel| (column, channel)))
        {
            let mut sum = 0.0;
            for (dy, wy) in filter.iter().enumerate() {
                for (dx, wx) in filter.iter().enumerate() {
                    let place = |idx: usize, offset: usize| (idx * down + offset).checked_sub(pads.0);
                    sum += wy * wx / 64.0 * gain * at(sample, place(row, dy), place(column, dx), channel);
                }
            }
            out.push(sum);
        }
    }
    out
}

fn fir(device: &Device) {
    for dims in [[1, 2, 2, 1], [2, 4, 6, 5], [1, 5, 3, 17]] {
        let x = noise(1, &dims, device);
        let down = k::fir_down2x(&(&x).into()).unwrap();
        assert_eq!(down.dims(), [dims[0], dims[1] / 2, dims[2] / 2, dims[3]]);
        assert_close("fir_down2x", &elements(down.tensor()), &up_fir_down(&x, 1, 2, (1, 1), 1.0), 1e-15);
        check("fir_down2x", &|x| k::fir_down2x(&x[0]), std::slice::from_ref(&x));
        let up = k::fir_up2x(&(&x).into()).unwrap();
        assert_eq!(up.dims(), [dims[0], 2 * dims[1], 2 * dims[2], dims[3]]);
        assert_close("fir_up2x", &elements(up.tensor()), &up_fir_down(&x, 2, 1, (2, 1), 4.0), 1e-15);
        check("fir_up2x", &|x| k::fir_up2x(&x[0]), &[x]);
    }
    assert!(k::fir_down2x(&noise(1, &[1, 1, 4, 2], device).into()).is_err());
    assert!(k::fir_up2x(&noise(1, &[4, 2], device).into()).is_err());
}
test_device!(fir_cpu, fir);

fn concat(device: &Device) {
    let (a, b, c) =
        (noise(1, &[2, 3, 2, 5], device), noise(2, &[2, 3, 2, 1], device), noise(3, &[2, 3, 2, 16], device));
    let want = Tensor::cat(&[&a, &b, &c], 3).unwrap();
    let inputs = [a, b, c];
    let values = inputs.each_ref().map(k::Value::from);
    let got = k::concat_channels(&values.each_ref()).unwrap();
    assert_close("concat", &elements(got.tensor()), &elements(&want), 0.0);
    check("concat", &|x| k::concat_channels(&x.iter().collect::<Vec<_>>()), &inputs);
    assert!(k::concat_channels(&[]).is_err());
    assert!(k::concat_channels(&[&values[0], &noise(1, &[2, 2, 2, 5], device).into()]).is_err());
}
test_device!(concat_cpu, concat);
