"""In training: mixed precision, compiled models, steps inside the backward pass."""

import copy

import pytest

torch = pytest.importorskip("torch")

import fusedstep.torch as ft


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))


def loss_of(net, i=0):
    torch.manual_seed(i)
    return net(torch.randn(5, 8)).pow(2).mean()


def assert_close(net, twin, **tolerance):
    for param, other in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(param, other, **tolerance)


def sides(name="AdamW"):
    net = model()
    twin = copy.deepcopy(net)
    return [
        (net, getattr(ft, name)(net.parameters(), lr=0.01)),
        (twin, getattr(torch.optim, name)(twin.parameters(), lr=0.01)),
    ]


@pytest.mark.parametrize("unscale", [False, True])
def test_grad_scaler(unscale):
    both = sides()
    scales = []
    for net, opt in both:
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
        for i in range(6):
            opt.zero_grad()
            scaler.scale(loss_of(net, i)).backward()
            if i == 3:
                next(net.parameters()).grad[0, 0] = float("inf")
            if unscale:
                scaler.unscale_(opt)
                torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            scaler.step(opt)
            scaler.update()
        scales.append(scaler.get_scale())
    assert scales[0] == scales[1]
    assert_close(both[0][0], both[1][0])
    for param, other in zip(both[0][0].parameters(), both[1][0].parameters(), strict=True):
        torch.testing.assert_close(param.grad, other.grad)  # unscaled
    assert both[0][1].state[next(both[0][0].parameters())]["step"] == 5


def test_a_step_that_is_given_scale_and_found_inf():
    both = sides()
    for net, _ in both:
        loss_of(net).backward()
    ours = both[0][1]
    for param in both[0][0].parameters():
        param.grad *= 8.0
    ours.grad_scale, ours.found_inf = torch.tensor(8.0), torch.tensor(0.0)
    for _, opt in both:
        opt.step()
    assert_close(both[0][0], both[1][0])
    ours.found_inf = torch.tensor(1.0)
    before = copy.deepcopy(both[0][0])
    ours.step()
    assert not ours.result.applied
    assert_close(both[0][0], before, rtol=0, atol=0)


def test_autocast():
    both = sides()
    for net, opt in both:
        for i in range(4):
            opt.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(net, i)
            loss.backward()
            opt.step()
    assert_close(both[0][0], both[1][0])


def test_a_compiled_model():
    both = sides()
    for net, opt in both:
        compiled = torch.compile(net, backend="aot_eager")
        for i in range(4):
            opt.zero_grad()
            loss_of(compiled, i).backward()
            opt.step()
    assert_close(both[0][0], both[1][0])


@pytest.mark.filterwarnings("ignore")  # dynamo's own
def test_a_compiled_training_step():
    both = sides()
    for net, opt in both:

        def train(i, net=net, opt=opt):
            opt.zero_grad()
            loss = loss_of(net, i)
            loss.backward()
            opt.step()
            return loss

        compiled = torch.compile(train, backend="eager")
        for i in range(4):
            compiled(i)
    assert_close(both[0][0], both[1][0])


def test_steps_inside_the_backward_pass():
    net = model()
    twin = copy.deepcopy(net)
    whole = ft.AdamW(twin.parameters(), lr=0.01)
    own = {param: ft.AdamW([param], lr=0.01) for param in net.parameters()}

    def step(param):
        own[param].step()
        own[param].zero_grad()

    for param in net.parameters():
        param.register_post_accumulate_grad_hook(step)
    for i in range(4):
        loss_of(net, i).backward()
        whole.zero_grad()
        loss_of(twin, i).backward()
        whole.step()
    for param, other in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(param, other)
        assert param.grad is None


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Lion"])
def test_the_bits_are_those_of_the_numpy_face(name):
    import fusedstep as fs

    net = model()
    twin = copy.deepcopy(net)
    opt = getattr(ft, name)(net.parameters(), lr=0.01, max_grad_norm=0.1)
    plain = getattr(fs, name)(twin.parameters(), lr=0.01, max_grad_norm=0.1)
    for i in range(5):
        opt.zero_grad()
        loss_of(net, i).backward()
        opt.step()
        twin.zero_grad()
        loss_of(twin, i).backward()
        plain.step([param.grad for param in twin.parameters()])
    for param, other in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(param, other)
