// One step over some tensors: who takes part, the functors they share, and how the work is cut.
// What does not change from one step to the next is kept.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernel/kernel_table.hpp"
#include "plan.hpp"
#include "registry.hpp"
#include "threads/pace.hpp"
#include "threads/parallel.hpp"

namespace fusedstep {

// Tensors that share a functor and what is done to their gradients.
struct Cohort {
  std::size_t group = 0;
  std::size_t first = 0;  // of its tensors
  Kernel kernel = nullptr;
  Measure measure = nullptr;
  Probe probe = nullptr;  // of layer-wise rules
  FunctorBytes functor;
  Gradient gradient;
};

struct Task {
  TensorView view;
  std::size_t size;  // elements
  std::size_t item_size;
  std::size_t streams;  // arrays of its size that the step touches
  std::size_t cohort;
  std::size_t slot;  // its place among the tensors, there or not: the shape of the norm
};

class Batch {
 public:
  std::vector<Task> tasks;
  std::vector<Cohort> cohorts;

  void clear();
  // To be called once tasks have changed. Allocates.
  void arrange();
  bool is_arranged() const { return arranged_; }
  // Makes room for measure() and probe(): `slots` is one more than the largest slot that could be.
  void reserve_norms(std::size_t slots);

  std::size_t bytes() const { return plan_.bytes(); }  // that run() touches
  // The most threads that a step may use, and whether they may be a team's (team.hpp); `rule` is
  // the number of its rule. May allocate.
  void set_threads(int limit, bool team, std::size_t rule);
  int threads() const { return threads_.count; }  // that the latest step used

  // Around the sweeps of a step, which is timed where it could have several threads.
  void start() noexcept;
  void end() noexcept;

  // Reads the gradients: the sum of squares of every task. True where all are finite.
  bool measure() noexcept;
  // Out of the last measure(): of all slots, or of the tasks of one group.
  static constexpr std::size_t kAllGroups = std::size_t(-1);
  double norm(std::size_t group = kAllGroups) noexcept;
  // The first task with a number that is not finite; tasks.size() where there is none.
  std::size_t first_nonfinite() const noexcept;

  // The first sweep of a layer-wise rule.
  void probe() noexcept;

  void run(double ema_decay) noexcept;

 private:
  static void run_lines(void* self, std::size_t first, std::size_t last);
  static void measure_blocks(void* self, std::size_t first, std::size_t last);
  static void probe_blocks(void* self, std::size_t first, std::size_t last);
  template <class Visit>
  void visit_blocks(std::size_t first, std::size_t last, Visit visit);
  Threads threads_for(std::size_t bytes) const;
  void sweep_blocks(void (*body)(void* self, std::size_t first, std::size_t last)) noexcept;

  Plan plan_;
  bool arranged_ = false;
  int limit_ = 1;
  bool team_ = false;
  Threads threads_;
  Pace* pace_ = nullptr;  // null: one thread
  std::chrono::steady_clock::time_point start_;
  double ema_decay_ = 0.0;
  std::vector<Plan::Tensor> extents_;

  std::vector<std::size_t> first_block_;  // of each task, and the end
  std::vector<double> sums_, others_;     // of each block
  std::vector<unsigned char> finite_;     // of each block
  std::vector<double> task_sums_, slots_;
  std::size_t gradient_bytes_ = 0;
};

}  // namespace fusedstep
