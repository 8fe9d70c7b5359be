//! A picture of which only a blurred one is known: deblurring.
//!
//! Each channel is convolved with a kernel, the picture continued by its border: Y = A X.
//! Where the kernel is a product of a column and a row, as the Gaussian is, so is the decomposition:
//!
//! ```text
//! Y = B_v X B_h^T ,  B = U S V^T ,  c_ij = (V_v^T X V_h)_ij = (U_v^T Y U_h)_ij / (s_i s_j)
//! ```
//!
//! kept where `s_i s_j` is large enough; another kernel needs the decomposition of the whole matrix.

use candle_core::{DType, Device, Tensor};
use nalgebra::DMatrix;

use super::matrix::{Svd, decompose, tensor};
use super::{MatrixMeasurement, Measurement, check_shape, image_shape};
use crate::error::{Error, Result};

/// The largest picture that is decomposed whole: 4,096 pixels are a matrix of 134 MB.
const MOST_PIXELS: usize = 4096;
/// A kernel is a product of a column and a row when the rest is below this share.
const RANK_ONE: f64 = 1e-5;

/// The blurred picture.
#[derive(Debug, Clone)]
pub struct Blur {
    form: Form,
    shape: [usize; 3],
}

#[derive(Debug, Clone)]
enum Form {
    Separable { vertical: Axis, horizontal: Axis, inverse: Tensor, kept: Tensor },
    Whole(MatrixMeasurement),
}

/// One direction of a separable blur: B and its decomposition.
#[derive(Debug, Clone)]
struct Axis {
    b: Tensor,
    u: Tensor,
    v: Tensor,
}

impl Blur {
    /// The blur by a kernel: what becomes of a single bright pixel. It is scaled to the sum 1.
    ///
    /// # Shapes
    /// `kernel`: `[h, w]`, both odd, any float type; `shape`: `[C, H, W]` of a sample.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the kernel is no kernel for such a picture, [`Error::Rcond`] when `rcond` is not in [0, 1),
    /// [`Error::Shape`] when `shape` is not that of an image.
    pub fn new(kernel: &Tensor, shape: &[usize], rcond: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&rcond) {
            return Err(Error::Rcond { rcond });
        }
        let (channels, height, width) = image_shape(shape)?;
        let kernel = normalized(kernel)?;
        let form = match product(&kernel)? {
            Some((column, row)) => {
                separable(&axis_matrix(&column, height), &axis_matrix(&row, width), rcond)?
            }
            None if height * width > MOST_PIXELS => {
                return Err(Error::Kernel {
                    reason: format!(
                        "it is not the product of a column and a row, and for {height}x{width} pixels its decomposition would be too large"
                    ),
                });
            }
            None => {
                let whole = tensor(&plane_matrix(&kernel, height, width), &Device::Cpu)?;
                Form::Whole(MatrixMeasurement::new(&whole, shape, rcond)?)
            }
        };
        Ok(Self { form, shape: [channels, height, width] })
    }

    fn check(&self, what: &str, x: &Tensor) -> Result<usize> {
        check_shape(what, x, &self.shape)
    }

    /// The coordinates of a separable blur have the shape of pictures, those of another `[N, C, r]`.
    fn pictures(&self, y: &Tensor) -> Result<Tensor> {
        let num = y.dim(0)?;
        Ok(y.reshape([&[num], &self.shape[..]].concat())?)
    }
}

impl Measurement for Blur {
    /// The blurred picture, `[N, C, H, W]`.
    fn observe(&self, x: &Tensor) -> Result<Tensor> {
        self.check("a batch of pictures", x)?;
        match &self.form {
            Form::Separable { vertical, horizontal, .. } => between(&vertical.b, x, &horizontal.b.t()?),
            Form::Whole(matrix) => self.pictures(&matrix.observe(x)?),
        }
    }

    fn coordinates(&self, y: &Tensor) -> Result<Tensor> {
        let num = self.check("a batch of blurred pictures", y)?;
        match &self.form {
            Form::Separable { vertical, horizontal, inverse, .. } => {
                let turned = between(&vertical.u.t()?, y, &horizontal.u)?;
                Ok(turned.broadcast_mul(&inverse.to_device(y.device())?)?)
            }
            Form::Whole(matrix) => matrix.coordinates(&y.reshape((num, self.shape[0], ()))?),
        }
    }

    fn measure(&self, x: &Tensor) -> Result<Tensor> {
        self.check("a batch of pictures", x)?;
        match &self.form {
            Form::Separable { vertical, horizontal, kept, .. } => {
                let turned = between(&vertical.v.t()?, x, &horizontal.v)?;
                Ok(turned.broadcast_mul(&kept.to_device(x.device())?)?)
            }
            Form::Whole(matrix) => matrix.measure(x),
        }
    }

    fn adjoint(&self, c: &Tensor) -> Result<Tensor> {
        match &self.form {
            Form::Separable { vertical, horizontal, kept, .. } => {
                let c = c.broadcast_mul(&kept.to_device(c.device())?)?;
                between(&vertical.v, &c, &horizontal.v.t()?)
            }
            Form::Whole(matrix) => matrix.adjoint(c),
        }
    }
}

/// A Gaussian kernel, cut off at 4 standard deviations.
///
/// # Shapes
/// The result is `[k, k]` f64, k odd; `std` is in pixels.
///
/// # Errors
/// [`Error::Kernel`] when `std` is not above 0, or so large that the kernel would be beyond all pictures.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 4 * 1024")]
pub fn gaussian_kernel(std: f64) -> Result<Tensor> {
    if !(std > 0.0 && std <= 1024.0) {
        let reason = format!("a standard deviation of {std} pixels: expected a number above 0, at most 1024");
        return Err(Error::Kernel { reason });
    }
    let reach = (4.0 * std).ceil() as usize;
    let size = 2 * reach + 1;
    let bell: Vec<f64> =
        (0..size).map(|i| (-0.5 * ((i as f64 - reach as f64) / std).powi(2)).exp()).collect();
    let values: Vec<f64> = (0..size * size).map(|i| bell[i / size] * bell[i % size]).collect();
    Ok(Tensor::from_vec(values, (size, size), &Device::Cpu)?)
}

/// left X right of every channel.
fn between(left: &Tensor, x: &Tensor, right: &Tensor) -> Result<Tensor> {
    let (num, channels, height, width) = x.dims4()?;
    let planes = x.contiguous()?.reshape((num * channels, height, width))?;
    let (left, right) = (left.to_device(x.device())?, right.to_device(x.device())?);
    let planes = left.contiguous()?.broadcast_matmul(&planes)?.broadcast_matmul(&right.contiguous()?)?;
    let (_, height, width) = planes.dims3()?;
    Ok(planes.reshape((num, channels, height, width))?)
}

/// The kernel with the sum 1.
fn normalized(kernel: &Tensor) -> Result<DMatrix<f64>> {
    let bad = |reason: String| Err(Error::Kernel { reason });
    let &[rows, columns] = kernel.dims() else {
        return bad(format!("shape {:?}: expected [h, w]", kernel.dims()));
    };
    if rows % 2 == 0 || columns % 2 == 0 {
        return bad(format!("{columns}x{rows} pixels: it needs a middle, so both sides must be odd"));
    }
    let values = kernel.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let sum: f64 = values.iter().sum();
    if !(sum > 0.0 && sum.is_finite()) {
        return bad(format!("its values add up to {sum}: expected a finite sum above 0"));
    }
    Ok(DMatrix::from_row_slice(rows, columns, &values) / sum)
}

/// The column and the row whose product the kernel is, if it is one.
fn product(kernel: &DMatrix<f64>) -> Result<Option<(Vec<f64>, Vec<f64>)>> {
    let Svd { u, s, v } = decompose(kernel, 0.0)?;
    if s.get(1).is_some_and(|&second| second > RANK_ONE * s[0]) {
        return Ok(None);
    }
    // Both with the sum 1, which also settles their signs.
    let scaled = |of: &DMatrix<f64>| {
        let column = of.column(0);
        column.iter().map(|value| value / column.sum()).collect::<Vec<f64>>()
    };
    Ok(Some((scaled(&u), scaled(&v))))
}

/// Convolution of a line of n pixels, continued by its ends.
fn axis_matrix(taps: &[f64], n: usize) -> DMatrix<f64> {
    let mut b = DMatrix::zeros(n, n);
    for at in 0..n {
        for (k, tap) in taps.iter().enumerate() {
            b[(at, source(at, k, taps.len(), n))] += tap;
        }
    }
    b
}

/// Convolution of a picture, continued by its border, pixels row by row.
fn plane_matrix(kernel: &DMatrix<f64>, height: usize, width: usize) -> DMatrix<f64> {
    let (rows, columns) = kernel.shape();
    let mut a = DMatrix::zeros(height * width, height * width);
    for at in 0..height * width {
        for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
            let row = source(at / width, i, rows, height);
            let column = source(at % width, j, columns, width);
            a[(at, row * width + column)] += kernel[(i, j)];
        }
    }
    a
}

/// The pixel that tap k of a convolution takes for the pixel `at`.
fn source(at: usize, k: usize, taps: usize, n: usize) -> usize {
    (at + taps / 2).saturating_sub(k).min(n - 1)
}

fn separable(vertical: &DMatrix<f64>, horizontal: &DMatrix<f64>, rcond: f64) -> Result<Form> {
    let device = &Device::Cpu;
    let (v, h) = (decompose(vertical, 0.0)?, decompose(horizontal, 0.0)?);
    let least = rcond * v.s[0] * h.s[0];
    let value = |i: usize, j: usize| v.s[i] * h.s[j];
    let size = (v.s.len(), h.s.len());
    let kept = DMatrix::from_fn(size.0, size.1, |i, j| f64::from(value(i, j) > least));
    let inverse =
        DMatrix::from_fn(size.0, size.1, |i, j| if value(i, j) > least { 1.0 / value(i, j) } else { 0.0 });
    let axis = |b: &DMatrix<f64>, svd: &Svd| -> Result<Axis> {
        Ok(Axis { b: tensor(b, device)?, u: tensor(&svd.u, device)?, v: tensor(&svd.v, device)? })
    };
    Ok(Form::Separable {
        vertical: axis(vertical, &v)?,
        horizontal: axis(horizontal, &h)?,
        inverse: tensor(&inverse, device)?,
        kept: tensor(&kept, device)?,
    })
}
