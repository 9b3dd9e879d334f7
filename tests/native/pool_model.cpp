// The pool's own source under a scheduler that explores the interleavings of its threads (model/):
// threads that are late or never arrive, that are preempted between taking a part and running it,
// or that are early for the next job; concurrent callers; threads that cannot be started.
//
// Required in every interleaving: each unit is done once, before run() returns; run() waits only
// for threads that have taken a part; no thread runs a part, or reads a context, of a finished job.
#include <cstdio>
#include <memory>
#include <vector>

#include "threads/pool.hpp"

using namespace fusedstep;

namespace {

struct Job {
  std::vector<int> done;
  bool is_over = false;
};

void body(void* context, std::size_t first, std::size_t last) {
  Job& job = *static_cast<Job*>(context);
  model::check(!job.is_over, "a part of a job that is over");
  model::point();  // preempted while holding a part
  model::check(first < last && last <= job.done.size(), "a part of other units");
  for (std::size_t i = first; i < last; ++i) ++job.done[i];
  model::check(!job.is_over, "a job was over too early");
}

struct Setting {
  const char* name;
  int callers, jobs, threads, limit, helpers;
  std::size_t units, part;
  bool more;
};

std::unique_ptr<Pool> pool;
std::vector<std::unique_ptr<Job>> all;  // per execution: late threads may look at finished jobs

void program(const Setting& s) {
  pool = std::make_unique<Pool>();
  all.clear();
  model::most_helpers = s.helpers;
  for (int caller = 0; caller < s.callers; ++caller)
    model::start(
        [s] {
          for (int k = 0; k < s.jobs; ++k) {
            all.push_back(std::make_unique<Job>());
            Job& job = *all.back();
            job.done.assign(s.units, 0);
            pool->run({s.units, 0, body, &job, s.more}, s.part, s.threads, s.limit);
            job.is_over = true;
            for (const int times : job.done) model::check(times == 1, "a unit not done once");
          }
        },
        /*is_helper=*/false);
}

bool tried(const char* how, const Setting& s, const model::Search& search) {
  const long orders = model::explore(search, [&] { program(s); });
  std::printf("%s, %s: %ld orders\n", s.name, how, orders);
  return orders > 0;
}

}  // namespace

int main() {
  const Setting settings[] = {
      {"one job", 1, 1, 2, 2, 9, 3, 1, false},
      {"jobs in a row", 1, 3, 2, 2, 9, 5, 2, true},
      {"three threads", 1, 2, 3, 3, 9, 5, 1, false},
      {"two callers", 2, 2, 2, 2, 9, 3, 1, false},
      {"two callers, room for all", 2, 2, 3, 4, 9, 4, 1, true},
      {"no thread to be had", 1, 2, 3, 3, 0, 4, 1, false},
      {"one of two to be had", 1, 2, 3, 3, 1, 4, 1, false},
  };
  bool right = true;
  for (const Setting& s : settings) {
    right = tried("late", s, {1, 0, true}) && right;
    right = tried("every order", s, {s.callers == 1 && s.threads == 2 ? 2 : 1, 0, false}) && right;
    right = tried("random", s, {0, 3000, false}) && right;
  }
  all.clear();
  return right ? 0 : 1;
}
