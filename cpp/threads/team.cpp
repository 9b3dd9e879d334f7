#include "team.hpp"

#include <atomic>

#include "numeric/float_environment.hpp"
#include "openmp.hpp"
#include "process.hpp"

#ifdef __linux__
#include <dlfcn.h>
#endif

namespace fusedstep {

#ifdef __linux__

namespace {

// Entry points of libgomp and compatible runtimes.
using Parallel = void (*)(void (*body)(void*), void* context, unsigned threads, unsigned flags);
using Number = int (*)();

std::atomic<Parallel> parallel{nullptr};
std::atomic<Number> max_threads{nullptr}, thread_number{nullptr}, thread_count{nullptr};

template <class Function>
Function find(void* library, const char* name) {
  return reinterpret_cast<Function>(dlsym(library, name));  // searches its dependencies too
}

void run_own_share(void* context) {
  const Work& work = *static_cast<const Work*>(context);
  const FloatEnvironment ours;
  run_share(work, thread_number.load()(), thread_count.load()());
}

}  // namespace

bool use_team_of(const char* library) {
  if (parallel.load() != nullptr) return true;  // looked up once
  void* const handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return false;
  max_threads = find<Number>(handle, "omp_get_max_threads");
  thread_number = find<Number>(handle, "omp_get_thread_num");
  thread_count = find<Number>(handle, "omp_get_num_threads");
  const bool is_whole = max_threads.load() && thread_number.load() && thread_count.load();
  parallel = is_whole ? find<Parallel>(handle, "GOMP_parallel") : nullptr;
  return parallel.load() != nullptr;
}

bool has_team(int threads) {
  return threads > 1 && parallel.load() != nullptr && fork_count() == 0 &&
         max_threads.load()() == threads && small_openmp_stacks().empty() &&
         openmp_threads(threads) == threads;
}

void run_on_team(int threads, const Work& work) {
  Work shared = work;
  parallel.load()(run_own_share, &shared, static_cast<unsigned>(threads), 0);
}

#else

bool use_team_of(const char*) { return false; }
bool has_team(int) { return false; }
void run_on_team(int, const Work& work) { work.body(work.context, 0, work.units); }

#endif

}  // namespace fusedstep
