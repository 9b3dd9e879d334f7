// A rule that the library was not compiled with: a description made at run time, whose loops are
// functions of its own. The engine steps with it as with any other, bare and with all that a step
// can do, and its bits are those of the same arithmetic done here.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "engine/dispatch.hpp"
#include "engine/stepper.hpp"
#include "kernel/adjustment.hpp"

using namespace fusedstep;

namespace {

// p = p - lr * g, and the sum of all g.
struct Descent {
  float lr;
  void operator()(float& p, float g, float& sum) const {
    sum = sum + g;
    p = p - lr * g;
  }
};

void plain(const void* rule, const TensorView& tensor, std::size_t at, std::size_t state_at,
           const void* gradient, std::size_t count) {
  const Descent descent = *static_cast<const Descent*>(rule);
  float* const p = elements<float>(tensor.param, at);
  float* const sum = elements<float>(tensor.state[0], state_at);
  const float* const g = static_cast<const float*>(gradient);
  for (std::size_t i = 0; i < count; ++i) descent(p[i], g[i], sum[i]);
}

void full(const void* rule, const TensorView& tensor, std::size_t at, std::size_t state_at,
          const void* gradient, std::size_t count, const void* extras) {
  const Descent descent = *static_cast<const Descent*>(rule);
  const auto& [adjust, average, unread] = *static_cast<const Extras<float>*>(extras);
  float* const p = elements<float>(tensor.param, at);
  float* const sum = elements<float>(tensor.state[0], state_at);
  float* const mean = tensor.average ? elements<float>(tensor.average, at) : unread;
  const float* const g = static_cast<const float*>(gradient);
  for (std::size_t i = 0; i < count; ++i) {
    descent(p[i], adjust(g[i], p[i]), sum[i]);
    average(mean[i], p[i]);
  }
}

void prepare(const double* scalars, std::int64_t, FunctorBytes* out) {
  const Descent descent{float(scalars[0])};
  std::memcpy(out, &descent, sizeof descent);
}

RuleInfo describe() {
  static RuleSweeps sweeps{};
  sweeps.of[0][0] = {plain, full, nullptr, nullptr};
  RuleInfo info{};
  info.name = "descent";
  info.scalars = {{"lr"}};
  info.variants = 1;
  info.states[0] = {{{"sum"}}};
  info.prepare[0][0] = prepare;
  info.sweeps.assign(available_tables().size(), &sweeps);
  return info;
}

bool steps_as_it_should(bool with_all) {
  constexpr std::size_t kSize = 100003;
  std::vector<float> p(kSize, 1.0f), sum(kSize, 0.0f), mean(kSize, 0.5f), g(kSize);
  for (std::size_t i = 0; i < kSize; ++i) g[i] = float(i % 97) / 97.0f - 0.3f;
  std::vector<float> expected_p = p, expected_sum = sum, expected_mean = mean;

  const RuleInfo rule = describe();
  Stepper stepper(rule);
  Group group;
  group.scalars[0] = 0.1;
  if (with_all) {
    group.max_value = 0.25;
    stepper.policy().ema_decay = 0.9;
  }
  stepper.groups().push_back(group);
  Tensor tensor{"p", {}, kSize};
  tensor.view.param.data = p.data();
  tensor.view.state[0].data = sum.data();
  if (with_all) tensor.view.average.data = mean.data();
  stepper.add(tensor);
  Array gradient;
  gradient.data = g.data();
  for (int step = 0; step < 3; ++step) {
    stepper.prepare({&gradient});
    stepper.run();
    for (std::size_t i = 0; i < kSize; ++i) {
      const float limited = with_all && g[i] > 0.25f ? 0.25f : g[i];
      const float clipped = with_all && limited < -0.25f ? -0.25f : limited;
      Descent{0.1f}(expected_p[i], clipped, expected_sum[i]);
      if (with_all)
        expected_mean[i] = float(0.9) * expected_mean[i] + float(1.0 - 0.9) * expected_p[i];
    }
  }
  return p == expected_p && sum == expected_sum && mean == expected_mean &&
         stepper.step_count() == 3;
}

}  // namespace

int main() {
  const bool bare = steps_as_it_should(false), all = steps_as_it_should(true);
  std::printf("bare: %s, with all: %s\n", bare ? "same" : "differs", all ? "same" : "differs");
  return !(bare && all);
}
