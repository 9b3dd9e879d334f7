#include "stepper.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "block.hpp"
#include "launch.hpp"

namespace fusedstep::cuda {
namespace {

// Packs arrays into one buffer, for a single copy.
class Bundle {
 public:
  template <class T>
  std::size_t add(const T* numbers, std::size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::size_t at = (bytes_.size() + kAlignment - 1) / kAlignment * kAlignment;
    bytes_.resize(at + count * sizeof(T));
    if (count != 0) std::memcpy(bytes_.data() + at, numbers, count * sizeof(T));
    return at;
  }
  template <class T>
  std::size_t add(const std::vector<T>& numbers) {
    return add(numbers.data(), numbers.size());
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  static constexpr std::size_t kAlignment = 16;
  std::vector<std::byte> bytes_;
};

template <class T>
T* at(const Buffer& buffer, std::size_t offset) {
  return reinterpret_cast<T*>(static_cast<std::byte*>(buffer.data()) + offset);
}

void put(Buffer& buffer, const std::vector<std::byte>& bytes, Stream stream) {
  buffer.reserve(std::max<std::size_t>(bytes.size(), 1));
  if (!bytes.empty()) copy_in(buffer.data(), bytes.data(), bytes.size(), stream);
}

}  // namespace

void Stepper::use(int device, Stream stream) {
  device_ = device;
  stream_ = stream;
}

void Stepper::report_to(bool* applied, double* grad_norm) {
  applied_ = applied;
  grad_norm_ = grad_norm;
}

void Stepper::add(Tensor tensor) {
  if (!captured_.empty())
    throw std::invalid_argument("parameter '" + tensor.name +
                                "': cannot add parameters after a step was captured in a CUDA "
                                "graph, whose tables are fixed: create a new optimizer");
  pull_counters();
  enlist(std::move(tensor));
  steps_.push_back(0);
  counters_on_device_ = groups_on_device_ = false;
  dense_.arrangement.invalidate();
}

std::int64_t Stepper::step_count() {
  pull_counters();
  return step_count_;
}

const std::vector<std::int64_t>& Stepper::steps() {
  pull_counters();
  return steps_;
}

void Stepper::set_counters(std::int64_t step_count, const std::vector<std::int64_t>& steps) {
  step_count_ = step_count;
  steps_ = steps;
  if (counters_on_device_) push_counters();
}

void Stepper::freeze(std::size_t tensor, bool frozen) {
  frozen_.at(tensor) = frozen;
  dense_.arrangement.invalidate();
}

void Stepper::push_counters() {
  const OnDevice on(device_);
  const Progress progress{step_count_, 0, kNone, kNone};
  progress_.reserve(sizeof progress);
  copy_in(progress_.data(), &progress, sizeof progress, stream_);
  const std::size_t bytes = steps_.size() * sizeof(std::int64_t);
  steps_buffer_.reserve(bytes);
  copy_in(steps_buffer_.data(), steps_.data(), bytes, stream_);
  counters_on_device_ = true;
}

// True while the host has seen every step and knows whether it was applied.
bool Stepper::knows_counters() const {
  return !counters_on_device_ || (!policy_.skip_nonfinite && captured_.empty());
}

void Stepper::pull_counters() {
  if (knows_counters()) return;
  if (is_capturing(stream_))
    throw std::invalid_argument(
        "cannot read the step counters while a CUDA graph is captured: they are only on the "
        "device (skip_nonfinite, or an earlier capture), and reading them would synchronize; read "
        "them outside of the capture");
  const OnDevice on(device_);
  Progress progress;
  copy_out(&progress, progress_.data(), sizeof progress, stream_);
  step_count_ = progress.step_count;
  copy_out(steps_.data(), steps_buffer_.data(), steps_.size() * sizeof(std::int64_t), stream_);
}

void Stepper::publish_groups() {
  groups_on_device_ = false;
  if (!captured_.empty()) push_groups();  // else the next step does
}

void Stepper::push_groups() {
  std::vector<GroupOptions> options;
  for (const Group& group : groups_) {
    GroupOptions& own = options.emplace_back();
    std::copy(group.scalars.begin(), group.scalars.end(), own.scalars);
    own.weight_decay = group.weight_decay;
    own.max_norm = group.max_norm.value_or(0.0);
    own.max_value = group.max_value;
    own.variant = group.variant;
    own.maximize = group.maximize;
    own.clips = group.max_norm.has_value();
  }
  const OnDevice on(device_);
  groups_buffer_.reserve(options.size() * sizeof(GroupOptions));
  clips_.reserve(options.size() * sizeof(double));
  copy_in(groups_buffer_.data(), options.data(), options.size() * sizeof(GroupOptions), stream_);
  groups_on_device_ = true;
}

void Stepper::prepare(const GradientSets& gradients) {
  const OnDevice on(device_);
  if (dense_.arrangement.arrange(*this, gradients)) {
    lay_out(dense_);
    dense_.tables.sweep.counts = true;
  }
  check_counters(dense_);
  Tables& tables = dense_.tables;
  const std::size_t sets = tensors_.size() * gradients.set_count;
  call(tables, gradients.sets, sets, gradients.weights, gradients.set_count);
  tables.sweep.divisor = gradients.divisor;
  tables.sweep.zero = gradients.zero;
  idle_ = idle(gradients);
  ready(dense_, gradients.scale);
}

// Rows share the counter of their tensor.
void Stepper::prepare(const JointGradients& gradients) {
  const OnDevice on(device_);
  rows_.arrangement.arrange(*this, gradients);
  std::vector<Array> sets;
  if (gradients.sets != nullptr) sets.assign(gradients.sets, gradients.sets + tensors_.size());
  for (const RowGradients& table : gradients.tables) {
    const std::vector<Array> own = table.sets();
    sets.insert(sets.end(), own.begin(), own.end());
  }
  lay_out(rows_);
  check_counters(rows_);
  Tables& tables = rows_.tables;
  call(tables, sets.data(), sets.size(), nullptr, 0);
  tables.sweep.divisor = 1.0;
  tables.sweep.counts = gradients.advances;
  tables.sweep.zero = false;
  idle_.clear();
  ready(rows_, gradients.scale);
}

void Stepper::check_counters(const Kind& kind) const {
  for (const std::uint32_t counter : kind.counters) check_counter(counter, steps_[counter]);
}

std::vector<Task> Stepper::tasks_of(const Arrangement& arrangement) const {
  std::vector<Task> tasks;
  for (const Participant& participant : arrangement.participants()) {
    const Tensor& tensor = tensors_[participant.tensor];
    Task& task = tasks.emplace_back();
    task.tensor = tensor.view;
    task.first = participant.first;
    task.size = participant.size;
    task.first_set = participant.first_set;
    task.set_count = participant.set_count;
    task.group = static_cast<std::uint32_t>(tensor.group);
    task.counter = static_cast<std::uint32_t>(participant.tensor);
    task.slot = static_cast<std::uint32_t>(participant.slot);
    task.compute = tensor.compute();
  }
  return tasks;
}

// Builds the tasks, their chunks and the tables that index them, on the device.
void Stepper::lay_out(Kind& kind) {
  Tables& tables = kind.tables;
  std::vector<std::uint32_t>& counters = kind.counters;
  counters.clear();
  for (const Participant& participant : kind.arrangement.participants())
    if (counters.empty() || counters.back() != participant.tensor)
      counters.push_back(static_cast<std::uint32_t>(participant.tensor));
  std::vector<Task> tasks = tasks_of(kind.arrangement);
  tables.has_narrow = std::any_of(tasks.begin(), tasks.end(),
                                  [](const Task& task) { return !task.tensor.is_native; });
  const std::size_t slots = kind.arrangement.slots();
  std::uint64_t elements = 0, blocks = 0;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    tasks[i].first_block = blocks;
    blocks += reduce_blocks(tasks[i].size);
    elements += tasks[i].size;
  }
  const auto processors = static_cast<std::uint64_t>(processor_count(device_));
  std::vector<std::uint32_t> task_of_slot(slots, kNone);
  const auto cut = [&](std::uint64_t size) {
    std::vector<Chunk> chunks;
    for (std::size_t i = 0; i < tasks.size(); ++i)
      for (std::uint64_t begin = 0; begin < tasks[i].size; begin += size)
        chunks.push_back({begin, static_cast<std::uint32_t>(i)});
    return chunks;
  };
  // A summing block has one warp per block of the tree.
  const std::uint64_t size = chunk_size(elements, processors, kReduceBlock),
                      sum_size = chunk_size(elements, processors, kWarps * kReduceBlock);
  const std::vector<Chunk> chunks = cut(size), sum_chunks = cut(sum_size);
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i].size != 0) task_of_slot[tasks[i].slot] = static_cast<std::uint32_t>(i);
    tasks[i].chunks = static_cast<std::uint32_t>((tasks[i].size + sum_size - 1) / sum_size);
  }

  Bundle bundle;
  const std::size_t to_tasks = bundle.add(tasks), to_chunks = bundle.add(chunks),
                    to_sum_chunks = bundle.add(sum_chunks), to_counters = bundle.add(counters),
                    to_slots = bundle.add(task_of_slot),
                    to_tickets = bundle.add(std::vector<unsigned>(tasks.size()));
  put(tables.plan, bundle.bytes(), stream_);
  const std::size_t norms = rule().layerwise ? tasks.size() : 0;
  tables.sums.reserve((2 * blocks + tasks.size() + reduce_blocks(slots)) * sizeof(double) +
                      norms * sizeof(Norms));

  Sweep& sweep = tables.sweep;
  sweep = {};
  sweep.tasks = at<Task>(tables.plan, to_tasks);
  sweep.chunks = {at<Chunk>(tables.plan, to_chunks), chunks.size(), size};
  tables.sum_chunks = {at<Chunk>(tables.plan, to_sum_chunks), sum_chunks.size(), sum_size};
  sweep.counters = at<std::uint32_t>(tables.plan, to_counters);
  sweep.task_of_slot = at<std::uint32_t>(tables.plan, to_slots);
  sweep.tickets = at<unsigned>(tables.plan, to_tickets);
  sweep.counter_count = counters.size();
  sweep.slot_count = slots;
  double* free = at<double>(tables.sums, 0);
  const auto take = [&](std::uint64_t count) { return std::exchange(free, free + count); };
  sweep.sums = take(blocks);
  sweep.param_sums = take(blocks);
  sweep.task_sums = take(tasks.size());
  sweep.scratch = take(reduce_blocks(slots));
  sweep.norms = reinterpret_cast<Norms*>(free);
}

// Uploads the addresses, formats and weights of the gradients if they have changed.
void Stepper::call(Tables& tables, const Array* sets, std::size_t count, const double* weights,
                   std::size_t weight_count) {
  std::vector<void*> addresses;
  std::vector<Format> formats;
  bool narrow = false;
  for (std::size_t i = 0; i < count; ++i) {
    addresses.push_back(sets[i].data);
    formats.push_back(sets[i].format);
    narrow = narrow || (sets[i] && !is_native(sets[i].format));
  }
  if (!narrow) formats.clear();
  Bundle bundle;
  const std::size_t to_sets = bundle.add(addresses), to_formats = bundle.add(formats),
                    to_weights = bundle.add(weights, weights == nullptr ? 0 : weight_count);
  if (bundle.bytes() != tables.called) {
    tables.called.clear();  // until they are uploaded
    put(tables.call, bundle.bytes(), stream_);
    tables.called = std::move(bundle.bytes());
  }
  tables.sweep.sets = at<void*>(tables.call, to_sets);
  tables.sweep.formats = narrow ? at<Format>(tables.call, to_formats) : nullptr;
  tables.sweep.weights = weights == nullptr ? nullptr : at<double>(tables.call, to_weights);
}

void Stepper::ready(Kind& kind, const Scale& scale) {
  check_step_count(step_count_);
  if (policy_.error_if_nonfinite && is_capturing(stream_))
    throw std::invalid_argument(
        "cannot capture a step with error_if_nonfinite, which waits for the device: use "
        "skip_nonfinite");
  if (!counters_on_device_) push_counters();
  if (!groups_on_device_) push_groups();
  Sweep& sweep = kind.tables.sweep;
  sweep.groups = at<GroupOptions>(groups_buffer_, 0);
  sweep.group_count = groups_.size();
  sweep.clips = at<double>(clips_, 0);
  sweep.progress = at<Progress>(progress_, 0);
  sweep.steps = at<std::int64_t>(steps_buffer_, 0);
  sweep.scale = scale.value;
  sweep.scale_at = scale.at;
  sweep.measures = measures();
  sweep.guards = policy_.skip_nonfinite || policy_.error_if_nonfinite;
  sweep.clip_per_group = policy_.clip_per_group;
  sweep.ema_decay = policy_.ema_decay;
  sweep.seed = policy_.seed;
  sweep.applied = applied_;
  sweep.grad_norm = grad_norm_;
  next_ = &kind;
}

StepResult Stepper::run() {
  const OnDevice on(device_);
  const Sweep& sweep = next_->tables.sweep;
  Sweep sums = sweep;
  sums.chunks = next_->tables.sum_chunks;
  const auto blocks = [](const Sweep& of) {
    return static_cast<unsigned>(std::max<std::uint64_t>(of.chunks.count, 1));
  };
  if (sweep.measures) launch_measure(sums, blocks(sums), stream_);
  const bool narrow = next_->tables.has_narrow || sweep.formats != nullptr;
  const RuleLaunches& launches = launches_[narrow ? 1 : 0];
  if (launches.probe != nullptr) launches.probe(sums, blocks(sums), stream_);
  launches.update(sweep, blocks(sweep), stream_);
  for (const auto& [data, bytes] : idle_)
    launch_clear({data, bytes, sweep.progress, sweep.guards}, stream_);
  check_launch();
  StepResult result;
  if (policy_.error_if_nonfinite) {
    Progress progress;
    copy_out(&progress, progress_.data(), sizeof progress, stream_);
    result.applied = progress.found == kNone;
    for (const Participant& participant : next_->arrangement.participants())
      if (participant.slot == progress.found) result.nonfinite = participant.tensor;
  }
  if (is_capturing(stream_))
    keep_for_graph();
  else if (result.applied)
    count_step();
  return result;
}

void Stepper::count_step() {
  if (next_->tables.sweep.counts) ++step_count_;
  for (const std::uint32_t counter : next_->counters) ++steps_[counter];
}

// The graph reads these tables at every replay.
void Stepper::keep_for_graph() {
  captured_.push_back(std::exchange(next_->tables, Tables{}));
  next_->arrangement.invalidate();
}

}  // namespace fusedstep::cuda
