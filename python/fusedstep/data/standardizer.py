"""Standardised features."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedstep.data._arrays import as_plain_array
from fusedstep.data._moments import BLOCK_VALUES, Moments

__all__ = ["NotFittedError", "Standardizer"]

_Floats: TypeAlias = NDArray[np.floating[Any]]


class NotFittedError(RuntimeError, AttributeError):
    """Statistics were read before `fit`.

    Also an AttributeError, so that ``hasattr(standardizer, "mean_")`` is False before `fit`.
    """


class Standardizer:
    r"""Standardise features: :math:`z = (x - μ) / σ`, column by column.

    Fit it to the training set and apply it to the test set: training must not use statistics of the
    test set.

    The data is read once, in blocks that stay in the cache, whose means and squared deviations are
    merged by the formula of Chan, Golub & LeVeque (1979), in float64 for data of any type. σ is the
    population's (divided by n, not n - 1), as in scikit-learn.

    Notes
    -----
    Names and values are those of scikit-learn's ``StandardScaler``, and it works in scikit-learn's
    pipelines, which may be read-only about their data: `y` is accepted everywhere and ignored.
    The differences are: non-finite values are an error, in `transform`, too; float16 and float32
    are transformed in float64 and the result is rounded once; and the threshold of a constant
    column does not grow with the number of rows (there, a column of mean 1e9 and standard deviation
    1e-3 counts as constant from about 4,500 rows on).

    However a million rows are split into calls of `partial_fit`, ``mean_`` equals that of one `fit`
    within ``1e-10 * sqrt(var_)`` plus one unit in the last place, and ``var_`` within a relative
    1e-10.

    No intermediate result overflows: any finite float64 can be fitted and transformed, even where
    ``var_`` exceeds float64 and is infinite.

    Reading statistics before `fit` raises `NotFittedError`. Invalid data changes nothing.

    Examples
    --------
    >>> standardizer = Standardizer().fit([[0.0, 5.0], [2.0, 5.0]])
    >>> standardizer.transform([[4.0, 6.0]])
    array([[3., 1.]])
    """

    # Of the class, since scikit-learn asks that only fit adds attributes to the instance.
    _moments: Moments | None = None

    def fit(self, X: ArrayLike, y: object = None) -> Standardizer:
        """Compute the statistics of `X`, (samples, features), discarding earlier ones."""
        del y
        self._moments = _with_rows(None, X)
        return self

    def partial_fit(self, X: ArrayLike, y: object = None) -> Standardizer:
        """Add the rows of `X`, (samples, features), to the statistics."""
        del y
        self._moments = _with_rows(self._moments, X)
        return self

    def transform(self, X: ArrayLike, *, out: _Floats | None = None) -> _Floats:
        """Return ``(X - mean_) / scale_``.

        Parameters
        ----------
        X : array_like, (samples, features)
            Finite numbers.
        out : ndarray, optional
            Where to write the result, of its shape and dtype. It may be `X` itself.

        Returns
        -------
        ndarray
            `out`, or a new array: of the dtype of `X` where that is a floating one, else float64.
        """
        x, out = self._operands(X, out)
        unit = self._unit()
        mean, scale = self.mean_ * unit, self.scale_ * unit
        for block, result in _blocks(x, out):
            np.multiply(block, unit, out=result)
            result -= mean
            result /= scale
        return out

    def inverse_transform(self, X: ArrayLike, *, out: _Floats | None = None) -> _Floats:
        """Return ``X * scale_ + mean_``; parameters as for `transform`."""
        x, out = self._operands(X, out)
        unit = self._unit()
        mean, scale = self.mean_ * unit, self.scale_ * unit
        for block, result in _blocks(x, out):
            np.multiply(block, scale, out=result)
            result += mean
            result /= unit
        return out

    def fit_transform(
        self, X: ArrayLike, y: object = None, *, out: _Floats | None = None
    ) -> _Floats:
        """Fit to `X` and return it standardised; `y` is ignored, `out` is as for `transform`."""
        del y
        x = _matrix(X)
        if out is not None:
            _check_out(out, x)  # before the statistics change
        return self.fit(x).transform(x, out=out)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the constructor, as scikit-learn asks: there are none."""
        del deep
        return {}

    def set_params(self, **params: object) -> Standardizer:
        """Set parameters of the constructor, as scikit-learn asks: there are none."""
        if params:
            raise ValueError(f"Standardizer: expected no parameters, got {', '.join(params)}")
        return self

    @property
    def mean_(self) -> NDArray[np.float64]:
        """Mean of each column."""
        return self._fitted().mean

    @property
    def var_(self) -> NDArray[np.float64]:
        """Population variance of each column, infinity where it exceeds float64."""
        return self._fitted().variance

    @property
    def scale_(self) -> NDArray[np.float64]:
        """Divisor of each column: ``sqrt(var_)``, or 1 where that is only rounding error.

        That is where the standard deviation is at most 10 float64 epsilons of the mean.
        """
        return self._fitted().scale

    @property
    def n_samples_seen_(self) -> int:
        """Rows seen since `fit`."""
        return self._fitted().n

    @property
    def n_features_in_(self) -> int:
        """Columns of the data."""
        return len(self._fitted().origin)

    def __repr__(self) -> str:
        if self._moments is None:
            return "Standardizer()"
        return f"Standardizer() fitted on {self.n_samples_seen_} x {self.n_features_in_}"

    def __sklearn_is_fitted__(self) -> bool:
        return self._moments is not None

    def __sklearn_tags__(self) -> Any:
        # Only scikit-learn calls this, which is never imported here.
        utils = sys.modules["sklearn.utils"]
        return utils.Tags(
            estimator_type=None,
            target_tags=utils.TargetTags(required=False),
            transformer_tags=utils.TransformerTags(
                preserves_dtype=["float16", "float32", "float64"]
            ),
        )

    def _fitted(self) -> Moments:
        if self._moments is None:
            raise NotFittedError("Standardizer: not fitted: call fit or partial_fit first")
        return self._moments

    def _unit(self) -> NDArray[np.float64]:
        """What to multiply a column with so that its difference to a huge mean does not overflow.

        A power of two changes no bit of the result: beside such a mean, what becomes subnormal is
        nothing.
        """
        return np.where(np.abs(self.mean_) > 2.0**900, 0.25, 1.0)

    def _operands(self, values: ArrayLike, out: _Floats | None) -> tuple[NDArray[Any], _Floats]:
        """Check everything before the first write, and return input and output."""
        matrix = _matrix(values, self.n_features_in_)
        # The sum is non-finite if any value is, and needs no memory; only then search for the value.
        with np.errstate(over="ignore", invalid="ignore"):
            total = matrix.sum(dtype=np.float64)
        if not np.isfinite(total):
            _refuse_non_finite(matrix)
        if out is None:
            return matrix, np.empty(matrix.shape, _result_type(matrix))
        _check_out(out, matrix)
        if out is not matrix and np.may_share_memory(out, matrix):
            matrix = matrix.copy()  # else an early block could overwrite what a later one reads
        return matrix, out


def _blocks(x: NDArray[Any], out: _Floats) -> Iterator[tuple[NDArray[Any], _Floats]]:
    """Yield blocks of `x` with where to compute the result, which goes to `out`.

    Like the statistics, it is computed in float64, or more precisely where `x` is: rounding the
    mean to float32 would shift a column whose standard deviation is small relative to its mean.
    """
    rows = min(len(x), max(1, BLOCK_VALUES // x.shape[1]))
    wide = np.result_type(x.dtype, np.float64)
    buffer = np.empty((0 if out.dtype == wide else rows, x.shape[1]), wide)
    for start in range(0, len(x), rows):
        block, target = x[start : start + rows], out[start : start + rows]
        if out.dtype == wide:
            yield block, target
        else:
            result = buffer[: len(block)]
            yield block, result
            np.copyto(target, result, casting="same_kind")


def _with_rows(moments: Moments | None, values: ArrayLike) -> Moments:
    x = _matrix(values, None if moments is None else len(moments.origin))
    moments = (moments or Moments.about(x[0])).including(x)
    exceeds = np.flatnonzero(~np.isfinite(moments.m2))
    if exceeds.size:
        _refuse_non_finite(x)
        raise ValueError(f"Standardizer: X: column {exceeds[0]}: a value exceeds float64")
    return moments


def _matrix(values: ArrayLike, features: int | None = None) -> NDArray[Any]:
    matrix = as_plain_array("Standardizer: X", values)
    if matrix.dtype.kind not in "biuf":
        raise TypeError(f"Standardizer: X: expected real numbers, got dtype {matrix.dtype}")
    if matrix.ndim != 2:
        raise ValueError(
            f"Standardizer: X: expected 2 axes (samples, features), got shape {matrix.shape}; "
            "reshape(-1, 1) makes one feature of a 1-D array, reshape(1, -1) one sample"
        )
    if 0 in matrix.shape:
        raise ValueError(f"Standardizer: X: expected at least one value, got shape {matrix.shape}")
    if features is not None and matrix.shape[1] != features:
        came = matrix.shape[1]
        raise ValueError(f"Standardizer: X: expected {features} columns, as fitted, got {came}")
    return matrix


def _refuse_non_finite(matrix: NDArray[Any]) -> None:
    """Raise ValueError for the first column that holds inf or NaN; return where there is none."""
    columns = np.flatnonzero(~np.isfinite(matrix).all(axis=0))
    if columns.size:
        column = matrix[:, columns[0]]
        row = np.flatnonzero(~np.isfinite(column))[0]
        raise ValueError(
            f"Standardizer: X: column {columns[0]}: expected finite values, "
            f"got {column[row]} in row {row}"
        )


def _result_type(matrix: NDArray[Any]) -> np.dtype[Any]:
    return matrix.dtype if matrix.dtype.kind == "f" else np.dtype(np.float64)


def _check_out(out: object, matrix: NDArray[Any]) -> None:
    """Raise ValueError for an output that would be converted, broadcast or not written."""
    expected = f"a writeable {_result_type(matrix)} array of shape {matrix.shape}"
    came = type(out).__name__
    if isinstance(out, np.ndarray):
        access = "writeable" if out.flags.writeable else "read-only"
        came = f"a {access} {out.dtype} array of shape {out.shape}"
    if came != expected:
        raise ValueError(f"Standardizer: out: expected {expected}, got {came}")
