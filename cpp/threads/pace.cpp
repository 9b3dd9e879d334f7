#include "pace.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "process.hpp"

namespace fusedstep {
namespace {

constexpr double kSeldom = 25.0;       // trials take at most 4 % of the time
constexpr double kBetter = 0.02;       // saving that wins a trial, of its steps' time
constexpr double kMostSaved = 0.02;    // seconds
constexpr double kLongEnough = 0.002;  // seconds
constexpr int kFewSteps = 4, kManySteps = 16, kMemory = 64;

}  // namespace

Pace::Pace(int limit, bool team) {
  if (team) levels_.push_back({{limit, true}});
  for (int threads = limit; threads > 1; threads /= 2) levels_.push_back({{threads, false}});
  levels_.push_back({{1, false}});
  home_ = team ? 1 : 0;  // a team must win a trial: if it stalls, the first steps would
  threads_ = levels_[home_].threads;
}

void Pace::record(Threads threads, std::size_t bytes, double seconds) noexcept {
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (!lock || bytes == 0) return;
  const Threads now = this->threads();
  if (threads.count != now.count || threads.team != now.team) return;
  if (is_trying_)
    count_trial(double(bytes), seconds);
  else
    count_usual(double(bytes), seconds);
  threads_.store(levels_[is_trying_ ? trial_.level : home_].threads, std::memory_order_relaxed);
}

void Pace::count_usual(double bytes, double seconds) {
  Level& home = levels_[home_];
  home.steps = std::min(home.steps + 1, kMemory);
  home.pace += (seconds / bytes - home.pace) / home.steps;
  Level* const below = home_ + 1 < levels_.size() ? &levels_[home_ + 1] : nullptr;
  Level* const above = home_ > 0 ? &levels_[home_ - 1] : nullptr;
  for (Level* other : {below, above})
    if (other != nullptr) other->wait -= seconds;
  if (below != nullptr && below->steps > 0) {
    saved_ = std::min(kMostSaved, saved_ + below->pace * bytes - seconds);
    if (saved_ < 0.0) below->wait = 0.0;
    if (saved_ == kMostSaved) home.backoff = kMinBackoff;
  }
  if (home.steps < 2) return;
  if (below != nullptr && below->wait <= 0.0)
    trial_ = {home_ + 1};
  else if (above != nullptr && above->wait <= 0.0)
    trial_ = {home_ - 1};
  else
    return;
  is_trying_ = true;
}

void Pace::count_trial(double bytes, double seconds) {
  ++trial_.steps;
  trial_.bytes += bytes;
  trial_.seconds += seconds;
  const double usual = levels_[home_].pace * trial_.bytes, saved = usual - trial_.seconds;
  const bool is_long = trial_.seconds >= kLongEnough;
  const bool is_over = trial_.steps >= (is_long ? kFewSteps : kManySteps);
  const bool is_bad = saved < (is_long ? -0.2 * usual : -kFewSteps * usual / trial_.steps);
  if (is_over || is_bad) end_trial(saved);
}

void Pace::end_trial(double saved) {
  const std::size_t before = home_;
  Level& tried = levels_[trial_.level];
  const double pace = trial_.seconds / trial_.bytes;
  const bool is_better = saved > kBetter * levels_[before].pace * trial_.bytes;
  if (is_better) home_ = trial_.level;
  // A few steps say little if some stall: compare with the mean over several trials.
  tried.steps = is_better ? trial_.steps : std::min(tried.steps + trial_.steps, kMemory);
  tried.pace += (pace - tried.pace) * trial_.steps / tried.steps;
  // Time lost by the level being left: in this trial, or since it was last found better.
  const double lost = is_better ? -saved_ : -saved;
  Level& left = is_better ? levels_[before] : tried;
  left.wait = std::max(left.backoff * lost, kSeldom * trial_.seconds);
  left.backoff = std::min(2.0 * left.backoff, kMaxBackoff);
  saved_ = is_better ? std::max(saved, 0.0) : std::max(saved_, 0.0);
  is_trying_ = false;
}

namespace {

struct Paces {
  std::mutex mutex;
  std::map<std::tuple<const void*, int, int, bool>, Pace> of;
};

}  // namespace

Pace& pace_of(const void* rule, std::size_t bytes, int limit, bool team) {
  Paces& paces = of_process<Paces>();
  int size = 0;  // one entry per power of two
  for (; bytes > 1; bytes /= 2) ++size;
  const std::lock_guard<std::mutex> lock(paces.mutex);
  return paces.of.try_emplace({rule, size, limit, team}, limit, team).first->second;
}

}  // namespace fusedstep
