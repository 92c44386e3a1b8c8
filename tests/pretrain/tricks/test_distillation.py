"""Knowledge distillation against equation 6 in NumPy."""

import numpy as np
import pytest
import torch

from pretrain.tricks.distillation import distillation


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 20.0])
def test_is_t_squared_times_the_cross_entropy(temperature: float) -> None:
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(0, 4, (2, 9, 11))

    found = distillation(torch.from_numpy(student), torch.from_numpy(teacher), temperature)

    p, q = softmax(teacher / temperature), softmax(student / temperature)
    expected = temperature**2 * -(p * np.log(q)).sum(axis=1).mean()
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_by_hand() -> None:
    """Teacher logits 0, T log 3 give 1/4, 3/4 at temperature T; the student gives 1/2, 1/2."""
    temperature = 20
    teacher = torch.tensor([[0.0, temperature * np.log(3)]])
    student = torch.zeros(1, 2)

    assert distillation(student, teacher, temperature).item() == pytest.approx(400 * np.log(2))


def test_gradient_is_t_times_the_difference_of_the_softmaxes() -> None:
    """d/dz T^2 l(p, softmax(z / T)) = T (softmax(z / T) - p); the teacher gets no gradient."""
    rng = np.random.default_rng(2)
    z, r = rng.normal(0, 3, (2, 5, 4))
    student = torch.from_numpy(z).requires_grad_()
    teacher = torch.from_numpy(r).requires_grad_()

    distillation(student, teacher, 20).backward()

    expected = 20 * (softmax(z / 20) - softmax(r / 20)) / 5
    np.testing.assert_allclose(student.grad.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert teacher.grad is None
