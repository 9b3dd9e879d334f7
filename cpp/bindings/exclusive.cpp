#include "exclusive.hpp"

#include <pybind11/pybind11.h>

#include <chrono>
#include <stdexcept>

#include "messages.hpp"
#include "unlocked.hpp"

namespace fusedstep::bindings {
namespace {

namespace py = pybind11;
using namespace std::chrono_literals;
using Answer = Turnstile::Answer;

constexpr auto kLongestWait = 60s;
constexpr auto kBetweenSignals = 50ms;  // how soon Ctrl-C is seen

Answer wait_in_line(Turnstile& turnstile, Turnstile::Call call) {
  Turnstile::Place place(turnstile, call);
  const auto end = std::chrono::steady_clock::now() + kLongestWait;
  for (;;) {
    Answer answer;
    {
      const Unlocked unlocked;
      answer = place.wait(kBetweenSignals);
    }
    if (answer != Answer::wait) return answer;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (std::chrono::steady_clock::now() >= end) return Answer::in_use;
  }
}

}  // namespace

Exclusive::Exclusive(Turnstile& turnstile, Turnstile::Call call) : turnstile_(turnstile) {
  Answer answer = turnstile.enter(call);
  if (answer == Answer::wait) answer = wait_in_line(turnstile, call);
  if (answer == Answer::in_use) throw std::runtime_error(kInUse);
  if (answer == Answer::closed) throw std::runtime_error("this optimizer was freed");
  if (answer == Answer::forked)
    throw std::runtime_error(
        "this optimizer was forked in the middle of a step: its arrays may be half-updated; load a "
        "saved state into a new one");
}

}  // namespace fusedstep::bindings
