#include "reader.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <utility>

#include "bindings/host/reader.hpp"
#include "bindings/rows.hpp"
#include "bindings/unlocked.hpp"

namespace fusedstep::bindings {
namespace {

// Work on `stream` from here on follows what `producer` holds.
void wait_for(std::uintptr_t producer, int device, const Subject& subject, cuda::Stream stream) {
  // As the interface numbers them: 1 is the legacy default stream, 2 the default stream of the
  // thread. These numbers are handles of the runtime's, too, but of the current device.
  const auto before = reinterpret_cast<cuda::Stream>(producer);
  const bool is_default = producer == 1 || before == nullptr;
  if (before == stream || (is_default && stream == nullptr)) return;
  const cuda::OnDevice on(std::max(device, 0));
  if (cuda::is_capturing(stream) && (is_default || !cuda::is_capturing(before)))
    refuse(PyExc_ValueError, subject, "an array from a stream that takes part in the capture",
           "one from a stream that does not");
  cuda::order(before, stream);
}

// torch has a current stream; whoever works on another one has to wait for it.
void wait_for_torch(const Description& object, const Subject& subject, cuda::Stream stream) {
  const py::object current =
      py::module_::import("torch.cuda").attr("current_stream")(object.device);
  wait_for(py::cast<std::uintptr_t>(current.attr("cuda_stream")), object.device, subject, stream);
}

Description from_torch(py::handle object, const Subject& subject, cuda::Stream stream) {
  if (is_negated(object)) throw py::type_error(kNegated);
  Description result;
  result.origin = Origin::torch;
  result.dtype = torch_dtype(object);
  result.item = py::cast<std::size_t>(object.attr("element_size")());
  result.shape = py::cast<Sizes>(object.attr("shape"));
  result.strides = py::cast<Sizes>(object.attr("stride")());
  for (py::ssize_t& stride : result.strides) stride *= static_cast<py::ssize_t>(result.item);
  result.data = reinterpret_cast<void*>(py::cast<std::uintptr_t>(object.attr("data_ptr")()));
  result.device = py::cast<int>(object.attr("get_device")());
  if (result.size() != 0) wait_for_torch(result, subject, stream);
  return result;
}

bool is_read_only(const py::dict& interface) {
  return py::cast<bool>(py::cast<py::tuple>(interface["data"])[1]);
}

Description from_interface(py::handle object, const py::dict& interface, const Subject& subject,
                           cuda::Stream stream) {
  Description result;
  result.origin = is_cupy(object) ? Origin::cupy : Origin::interface;
  result.shape = py::cast<Sizes>(interface["shape"]);
  const auto typestr = py::cast<std::string>(interface["typestr"]);
  const auto dtype = py::dtype::from_args(py::str(typestr));
  result.item = static_cast<std::size_t>(dtype.itemsize());
  result.dtype = typestr[0] == '>' ? typestr : text_of(dtype.attr("name"));
  const auto data = py::cast<py::tuple>(interface["data"]);
  result.data = reinterpret_cast<void*>(py::cast<std::uintptr_t>(data[0]));
  result.is_writeable = !is_read_only(interface);
  const auto optional = [&](const char* key) -> py::object {
    return interface.contains(key) ? py::object(interface[key]) : py::none();
  };
  const py::object strides = optional("strides"), producer = optional("stream");
  result.strides =
      strides.is_none() ? c_strides(result.shape, result.item) : py::cast<Sizes>(strides);
  if (result.strides.size() != result.shape.size())
    throw py::value_error("shape and strides differ in length");
  if (!optional("mask").is_none())
    refuse(PyExc_TypeError, subject, "a CUDA array without a mask", "a masked one");
  if (result.size() != 0) {
    result.device = cuda::device_of(result.data);
    if (result.device < 0)
      refuse(PyExc_ValueError, subject, "memory on a CUDA device",
             "an address on no CUDA device (" + type_name(object) + ")");
    if (!producer.is_none())
      wait_for(py::cast<std::uintptr_t>(producer), result.device, subject, stream);
  }
  return result;
}

// Asks for a capsule of DLPack 1, or of an older version. 1 is DLPack's number of the default
// stream. Some libraries export nothing while another device is the current one.
py::object capsule_of(py::handle object, int device, cuda::Stream stream) {
  const cuda::OnDevice on(std::max(device, 0));
  const auto number = stream == nullptr ? 1 : reinterpret_cast<std::uintptr_t>(stream);
  try {
    return object.attr("__dlpack__")(py::arg("stream") = number,
                                     py::arg("max_version") = py::make_tuple(1, 1),
                                     py::arg("copy") = false);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  return object.attr("__dlpack__")(py::arg("stream") = number);
}

// The capsule is kept as it came: unless it was renamed, it frees its memory when it dies.
Description from_dlpack(py::handle object, int device, cuda::Stream stream) {
  Description result;
  result.origin = Origin::dlpack;
  result.source = capsule_of(object, device, stream);
  const dlpack::Tensor* tensor = nullptr;
  PyObject* const capsule = result.source.ptr();
  if (PyCapsule_IsValid(capsule, "dltensor_versioned") != 0) {
    const auto* const managed =
        static_cast<dlpack::ManagedVersioned*>(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
    if (managed->major > 1)
      throw py::type_error("requires DLPack <= 1; found " + std::to_string(managed->major));
    if ((managed->flags & dlpack::kIsCopied) != 0)
      throw py::type_error("__dlpack__ returned a copy");
    result.is_writeable = (managed->flags & dlpack::kReadOnly) == 0;
    tensor = &managed->tensor;
  } else if (PyCapsule_IsValid(capsule, "dltensor") != 0) {
    tensor = &static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule, "dltensor"))->tensor;
  } else {
    throw py::type_error("__dlpack__ returned no DLPack capsule");
  }
  result.dtype = dlpack::dtype_name(*tensor);
  result.item = static_cast<std::size_t>(tensor->bits * tensor->lanes + 7) / 8;
  result.shape.assign(tensor->shape, tensor->shape + tensor->ndim);
  result.strides = strides_of(*tensor, result.shape, result.item);
  result.data = dlpack::address(*tensor);
  result.device = tensor->device_id;
  return result;
}

// What messages call an object that is not on a device.
std::string on_cpu(py::handle object) {
  return "an array on the CPU (" +
         (is_torch(object) ? "torch." + type_name(object) : type_name(object)) + ")";
}

py::object attribute(py::handle object, const char* name) {
  PyObject* const found = PyObject_GetAttrString(object.ptr(), name);
  if (found == nullptr) {
    if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) throw py::error_already_set();
    PyErr_Clear();
  }
  return py::reinterpret_steal<py::object>(found);
}

Description read(py::handle object, const Subject& subject, const std::string& expected,
                 cuda::Stream stream) {
  if (is_torch(object)) {
    if (!py::cast<bool>(object.attr("is_cuda")))
      refuse(PyExc_TypeError, subject, expected,
             text_of(object.attr("device")) == "cpu"
                 ? on_cpu(object)
                 : "a tensor on " + text_of(object.attr("device")));
    if (text_of(object.attr("layout")) != "torch.strided")
      refuse(PyExc_TypeError, subject, "a dense tensor",
             "one of layout " + text_of(object.attr("layout")));
    return from_torch(object, subject, stream);
  }
  if (py::isinstance<py::array>(object)) refuse(PyExc_TypeError, subject, expected, on_cpu(object));
  const py::object interface = attribute(object, "__cuda_array_interface__");
  const py::object where = attribute(object, "__dlpack_device__");
  // An interface without a stream does not say when its data are ready: DLPack waits for them.
  const bool by_interface =
      interface && (!where || is_cupy(object) || py::dict(interface).contains("stream"));
  if (by_interface) return from_interface(object, py::dict(interface), subject, stream);
  if (!where) refuse(PyExc_TypeError, subject, expected, type_name(object));
  const auto place = py::cast<std::pair<int, int>>(where());
  switch (place.first) {
    case dlpack::kCPU:
    case dlpack::kCUDAHost:
      refuse(PyExc_TypeError, subject, expected, on_cpu(object));
    case dlpack::kCUDA:
    case dlpack::kCUDAManaged:
      break;
    default:
      refuse(PyExc_TypeError, subject, expected,
             "an array on DLPack device type " + std::to_string(place.first));
  }
  Description result = from_dlpack(object, place.second, stream);
  if (interface)  // old capsules cannot say so
    result.is_writeable = result.is_writeable && !is_read_only(py::dict(interface));
  return result;
}

}  // namespace

bool is_cupy(py::handle object) {
  static PyTypeObject* type = nullptr;
  return is_of(object, type, "cupy", "ndarray");
}

Description read_device_array(py::handle object, const Subject& subject,
                              const std::string& expected, cuda::Stream stream) {
  // Errors of another library's protocol get the array's name. Refusals have it already.
  const auto blame = [&](const std::string& why) {
    return subject.text() + ": expected a CUDA array that can be viewed without a copy, got " +
           type_name(object) + " (" + why + ")";
  };
  try {
    Description result = read(object, subject, expected, stream);
    result.owner = py::reinterpret_borrow<py::object>(object);
    result.order = order_of(result.shape, result.strides, result.item);
    return result;
  } catch (py::error_already_set& error) {
    const std::string text = text_of(error.value());
    if (!error.matches(PyExc_Exception) || text.rfind(subject.text(), 0) == 0) throw;
    py::raise_from(error, PyExc_TypeError, blame(text).c_str());
    throw py::error_already_set();
  } catch (const py::builtin_exception& error) {  // the protocol returned another type
    throw py::type_error(blame(error.what()));
  }
}

Description read_indices(py::handle indices, const Subject& subject, cuda::Stream stream) {
  const Description array = read_device_array(indices, subject, kIndices, stream);
  check_indices(array, subject);
  if ((array.order & kC) == 0)
    refuse(PyExc_ValueError, subject, "contiguous indices on the device", array.layout_text());
  refuse_while_capturing(subject.text() + " on the device", stream);
  const py::array copy(py::dtype(array.dtype), array.shape);
  Description result = describe(copy);
  {
    const Unlocked unlocked;
    const cuda::OnDevice on(std::max(array.device, 0));
    if (array.size() != 0)
      cuda::copy_out(result.data, array.data, array.size() * array.item, stream);
  }
  return result;
}

void refuse_while_capturing(const std::string& what, cuda::Stream stream) {
  if (cuda::is_capturing(stream))
    throw py::value_error(what +
                          ": not possible while a CUDA graph is captured, because it waits for the "
                          "device; do it outside of the capture");
}

std::intptr_t address_now(py::handle object, Origin origin) {
  static PyObject* const data_ptr = PyUnicode_InternFromString("data_ptr");
  static PyObject* const data = PyUnicode_InternFromString("data");
  static PyObject* const ptr = PyUnicode_InternFromString("ptr");
  PyObject* number = nullptr;
  dlpack::Tensor tensor;
  if (origin == Origin::torch &&
      dlpack::describe(dlpack::describes(object, /*quietly=*/false), object, tensor))
    return reinterpret_cast<std::intptr_t>(dlpack::address(tensor));
  if (origin == Origin::torch) {
    PyObject* const self = object.ptr();
    number = PyObject_VectorcallMethod(data_ptr, &self, 1, nullptr);
  } else if (origin == Origin::cupy) {
    const auto memory = py::reinterpret_steal<py::object>(PyObject_GetAttr(object.ptr(), data));
    if (memory) number = PyObject_GetAttr(memory.ptr(), ptr);
  } else {
    try {
      const py::dict interface = object.attr("__cuda_array_interface__");
      number = py::object(py::tuple(interface["data"])[0]).release().ptr();
    } catch (const py::error_already_set&) {
      return -1;
    }
  }
  const std::size_t address = number == nullptr ? std::size_t(-1) : PyLong_AsSize_t(number);
  Py_XDECREF(number);
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    return -1;
  }
  return static_cast<std::intptr_t>(address);
}

}  // namespace fusedstep::bindings
