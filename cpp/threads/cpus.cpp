#include "cpus.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

namespace fusedstep {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

bool names_cpu(const std::string& list) { return ("," + list + ",").find(",cpu,") != list.npos; }

// Groups are written with a slash at both ends: one lies in another if it begins with it.
std::string closed(const std::string& path) { return path == "/" ? path : path + "/"; }

// From lines of hierarchy:controllers:group, where v2 has no controllers and a group may have
// colons. Every process is in the group of all.
std::string own_group(const std::string& file, bool v2) {
  std::ifstream lines(file);
  for (std::string line, id, list, group; std::getline(lines, line);) {
    std::istringstream words(line);
    if (std::getline(std::getline(std::getline(words, id, ':'), list, ':'), group) &&
        (v2 ? list.empty() : names_cpu(list)))
      return closed(group);
  }
  return "/";
}

// The kernel writes a blank in a path of mountinfo as \040.
std::string unescaped(std::string path) {
  for (std::size_t at = 0; (at = path.find('\\', at)) != path.npos; ++at) {
    const long code = std::strtol(path.substr(at + 1, 3).c_str(), nullptr, 8);
    path.replace(at, 4, 1, static_cast<char>(code));
  }
  return path;
}

struct Mount {
  bool v2;
  std::string group, point;  // which group is seen where: in a container, often its own
};

// From lines of id parent device group point options... - type source options.
std::vector<Mount> cgroup_mounts(const std::string& file) {
  std::vector<Mount> mounts;
  std::ifstream lines(file);
  for (std::string line, word, group, point, type; std::getline(lines, line);) {
    if (line.find(" - cgroup") == line.npos) continue;  // there may be thousands of others
    std::istringstream words(line);
    words >> word >> word >> word >> group >> point;
    while (words >> word && word != "-") continue;
    words >> type;
    while (words >> word) continue;  // the last
    if (type == "cgroup2" || (type == "cgroup" && names_cpu(word)))
      mounts.push_back({type == "cgroup2", closed(unescaped(group)), unescaped(point)});
  }
  if (mounts.empty()) mounts = {{true, "/", "/sys/fs/cgroup"}, {false, "/", "/sys/fs/cgroup/cpu"}};
  return mounts;
}

bool goes_up(const std::string& group) { return group.compare(0, 4, "/../") == 0; }

// `group` as seen where `mounted` is; "" where it is not to be seen. Both are relative to the
// process's cgroup namespace: /.. is around it.
std::string seen_from(std::string mounted, std::string group) {
  if (group.compare(0, mounted.size(), mounted) == 0) {
    group.erase(0, mounted.size() - 1);
    return group.find("/../") == group.npos ? group : "";
  }
  // Mounted may be a group around the namespace: its quota counts, but no name leads down to ours.
  while (goes_up(mounted)) mounted.erase(0, 3);
  return mounted == "/" ? mounted : "";
}

double quota_of(const std::string& folder, bool v2) {
  double quota = 0, period = 0;  // "max" and -1 are no quota
  if (v2) {
    std::ifstream(folder + "cpu.max") >> quota >> period;
  } else {
    std::ifstream(folder + "cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : kNoLimit;
}

int allowed_cpus() {
#ifdef __linux__
  // A set of 1024 CPUs is refused where the kernel has more.
  for (std::size_t n = 1; n <= 1024; n *= 2) {
    std::vector<cpu_set_t> sets(n);
    const std::size_t bytes = n * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, sets.data()) == 0) return CPU_COUNT_S(bytes, sets.data());
    if (errno != EINVAL) break;
  }
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

double cpu_quota(const std::string& root) noexcept {
  double least = kNoLimit;
  try {
    for (const Mount& mount : cgroup_mounts(root + "/proc/self/mountinfo")) {
      const std::string own = own_group(root + "/proc/self/cgroup", mount.v2);
      std::string group = seen_from(mount.group, own);
      while (!group.empty()) {
        least = std::min(least, quota_of(root + mount.point + group, mount.v2));
        group.pop_back();
        group.resize(group.rfind('/') + 1);  // the group around it
      }
    }
  } catch (...) {  // no memory: what was read until then
  }
  return least;
}

int usable_cpus(const std::string& root) noexcept {
  const double quota = cpu_quota(root);
  int cpus = 1;
  try {
    cpus = allowed_cpus();
  } catch (...) {  // no memory for the set
  }
  return std::max(1, quota < cpus ? static_cast<int>(quota) : cpus);
}

}  // namespace fusedstep
