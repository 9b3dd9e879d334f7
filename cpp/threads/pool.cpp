#include "pool.hpp"

#include <algorithm>
#include <exception>

#include "numeric/float_environment.hpp"

namespace fusedstep {
namespace {

using namespace std::chrono_literals;

// How long a thread spins before it parks: parking and waking takes as long.
constexpr Clock::duration kSpin = 10us;
// Upper bound of the spin if recent jobs came as quickly.
constexpr Clock::duration kMaxSpin = 80us;

// Spins until `ready` or the time is up.
template <class Ready>
bool spin_for(Clock::duration time, Ready ready) {
  if (ready()) return true;
  if (time == time.zero()) return false;
  const auto end = Clock::now() + time;
  do {
    for (int i = 0; i < 4; ++i) {
      pause();
      if (ready()) return true;
    }
  } while (Clock::now() < end);
  return false;
}

// Job number above; below, its number of threads, or which of them to wake next.
std::uint64_t pack(std::uint32_t job, int count) {
  return std::uint64_t{job} << 32 | static_cast<std::uint32_t>(count);
}
std::uint32_t job_of(std::uint64_t word) { return std::uint32_t(word >> 32); }
int count_of(std::uint64_t word) { return int(std::uint32_t(word)); }

}  // namespace

// A snapshot, valid once a part of the job is taken: the caller writes these fields before it deals
// the parts, and rewrites them only when all parts are done.
struct Pool::Job {
  Job(const Pool& pool, std::uint64_t open)
      : number(job_of(open)),
        threads(count_of(open)),
        body(pool.body_.load(std::memory_order_relaxed)),
        context(pool.context_.load(std::memory_order_relaxed)),
        begin(pool.begin_.load(std::memory_order_relaxed)),
        end(pool.end_.load(std::memory_order_relaxed)),
        part(pool.part_.load(std::memory_order_relaxed)) {}

  void run(std::uint32_t k) const {
    const std::size_t first = begin + k * part;
    body(context, first, std::min(end, first + part));
  }

  std::uint32_t number;
  int threads;
  void (*body)(void*, std::size_t, std::size_t);
  void* context;
  std::size_t begin, end, part;
};

void Pool::run(const Work& work, std::size_t part, int threads, int limit) noexcept {
  callers_.fetch_add(1, std::memory_order_relaxed);
  limit_.store(limit, std::memory_order_relaxed);
  // While another caller has the pool: alone, part by part.
  std::size_t at = 0;
  while (at < work.units && in_use_.exchange(true, std::memory_order_acquire)) {
    const std::size_t end = std::min(work.units, at + part);
    work.body(work.context, at, end);
    at = end;
  }
  if (at < work.units) {
    share_out(work, at, part, threads);
    in_use_.store(false, std::memory_order_release);
  }
  callers_.fetch_sub(1, std::memory_order_relaxed);
}

void Pool::share_out(const Work& work, std::size_t begin, std::size_t part, int threads) noexcept {
  threads = start_threads(std::min(threads, kMaxThreads));
  if (threads == 1) return work.body(work.context, begin, work.units);
  if (const int cpu = current_cpu(); cpu != avoided_) avoid_cpu(cpu);
  const Clock::duration pause = Clock::now() - last_end_,
                        longest = 2 * std::max(pause, last_pause_);
  last_pause_ = pause;
  body_.store(work.body, std::memory_order_relaxed);
  context_.store(work.context, std::memory_order_relaxed);
  begin_.store(begin, std::memory_order_relaxed);
  end_.store(work.units, std::memory_order_relaxed);
  part_.store(part, std::memory_order_relaxed);
  const Clock::duration expected = longest <= kMaxSpin ? longest : Clock::duration::zero();
  spin_.store(std::max(expected, work.more ? kSpin : Clock::duration::zero()).count(),
              std::memory_order_relaxed);
  const auto parts = static_cast<std::uint32_t>((work.units - begin + part - 1) / part);
  left_.store(parts, std::memory_order_relaxed);
  ++number_;
  const auto n = static_cast<std::uint32_t>(threads);
  const auto cut = [&](std::uint32_t k) { return parts / n * k + parts % n * k / n; };
  for (std::uint32_t k = 0; k < n; ++k) workers_[k]->share.deal(number_, cut(k), cut(k + 1));
  to_wake_.store(pack(number_, 1), std::memory_order_relaxed);
  const std::uint64_t open = pack(number_, threads);
  open_.store(open);
  const Job job(*this, open);
  wake_helpers(job, 2);
  const std::uint32_t done = help(job, 0);
  if (left_.fetch_sub(done) != done) await_parts();
  open_.store(pack(number_, 0));
  last_end_ = Clock::now();
}

// Returns how many of the wanted threads exist.
int Pool::start_threads(int wanted) noexcept {
  if (started_ >= wanted) return wanted;
  if (Clock::now() < retry_) return started_;
  try {
    if (!workers_[0]) workers_[0] = std::make_unique<Worker>();
    for (; started_ < wanted; ++started_) {
      const int self = started_;
      workers_[std::size_t(self)] = std::make_unique<Worker>();
      workers_[std::size_t(self)]->thread = start_thread(self, [this, self] { serve(self); });
      avoided_ = kNoCpu;
    }
  } catch (const std::exception&) {  // out of memory, or at the process's thread limit
    retry_ = Clock::now() + 1s;
  }
  return started_;
}

void Pool::serve(int self) noexcept {
  const FloatEnvironment ours;
  for (std::uint32_t seen = 0;;) {
    const Job job(*this, next_job(self, seen));
    seen = job.number;
    wake_helpers(job, 2);
    const std::uint32_t done = help(job, self);
    if (done != 0 && left_.fetch_sub(done) == done) caller_.wake();
  }
}

// Spins, then parks, until a job wants this thread.
std::uint64_t Pool::next_job(int self, std::uint32_t seen) noexcept {
  Parking& parking = workers_[std::size_t(self)]->parking;
  std::uint64_t open = 0;
  const auto is_wanted = [&] {
    open = open_.load();
    return job_of(open) != seen && self < count_of(open);
  };
  for (;;) {
    if (spin_for(Clock::duration(spin_.load(std::memory_order_relaxed)), is_wanted)) return open;
    parking.prepare_sleep();
    if (is_wanted()) {
      parking.cancel_sleep();
      return open;
    }
    parking.sleep();
  }
}

// Runs parts, its own first, then stolen ones, until none are left. Returns how many.
std::uint32_t Pool::help(const Job& job, int self) noexcept {
  std::uint32_t done = 0, part = 0;
  for (int i = 0; i < job.threads; ++i) {
    Share& share = workers_[std::size_t((self + i) % job.threads)]->share;
    while ((self == 0 || may_help(self)) && share.take(job.number, i == 0, part)) {
      job.run(part);
      ++done;
      if (self == 0) wake_helpers(job, 1);
    }
  }
  return done;
}

// Waking a thread takes a microsecond or two, so those awake wake the next ones.
void Pool::wake_helpers(const Job& job, int count) noexcept {
  while (count > 0) {
    std::uint64_t word = to_wake_.load(std::memory_order_relaxed);
    const int next = count_of(word);
    if (job_of(word) != job.number || next >= job.threads || !may_help(next)) return;
    if (!to_wake_.compare_exchange_weak(word, word + 1, std::memory_order_relaxed)) continue;
    Worker& worker = *workers_[std::size_t(next)];
    if (worker.share.is_left(job.number)) worker.parking.wake();
    --count;
  }
}

void Pool::avoid_cpu(int cpu) noexcept {
  const AllowedCpus allowed(cpu);
  for (int k = 1; k < started_; ++k) allowed.allow(workers_[std::size_t(k)]->thread);
  avoided_ = cpu;
}

// Waits for parts in progress on other threads.
void Pool::await_parts() noexcept {
  const auto is_done = [&] { return left_.load() == 0; };
  if (spin_for(kSpin, is_done)) return;
  avoid_cpu(kNoCpu);  // a preempted helper may need this CPU
  for (;;) {
    caller_.prepare_sleep();
    if (is_done()) return caller_.cancel_sleep();
    caller_.sleep();
  }
}

}  // namespace fusedstep
