# syntax=docker/dockerfile:1
# Images of the program: a small one that folds on the CPU, and one that also reaches graphics cards.
#
# In:   the sources named by COPY below. Out, by --target:
#         cpu  (default)  a static program on an image without a shell; nothing of it can reach a GPU
#         gpu             the Vulkan loader and what NVIDIA's driver links; the driver itself comes from the host
#
#   docker build --tag bnfold-gpu .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD":/work bnfold-gpu --input model.safetensors
#   docker build --tag bnfold-gpu:gpu --target gpu .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" --volume "$PWD":/work bnfold-gpu:gpu devices
#
# Build arguments:
#   RUST      version of the compiler; not below `rust-version` in Cargo.toml
#   DEBIAN    release that the program is built on and that the gpu image runs on
#   STATIC    image that the cpu program runs on: needs /tmp and certificate authorities, no libc
#   FEATURES  of the cpu image, beside `cli`; `cloud` reads and writes object stores, `hub` reads the Hugging Face Hub
#   DRIVERS   more packages for the gpu image: `mesa-vulkan-drivers` for AMD and Intel cards (with --device /dev/dri)
# Images are named by tag rather than by digest, so that a build today has today's security updates.
ARG RUST=1.95
ARG DEBIAN=trixie
ARG STATIC=gcr.io/distroless/static-debian13:nonroot

FROM rust:${RUST}-slim-${DEBIAN} AS sources
WORKDIR /build
COPY Cargo.toml Cargo.lock README.md ./
COPY benches benches
COPY shaders shaders
COPY src src

FROM sources AS build-cpu
# musl's own compiler driver, for the C in the cryptography of the features `cloud` and `hub`.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends musl-tools \
    && rm -rf /var/lib/apt/lists/*
ARG FEATURES=cloud,hub
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    target="$(uname -m)-unknown-linux-musl" \
    && rustup target add "$target" \
    && cargo build --locked --release --target "$target" --no-default-features --features "cli,$FEATURES" \
    && cp "target/$target/release/bnfold-gpu" /bnfold-gpu

FROM sources AS build-gpu
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --features cloud,hub \
    && cp target/release/bnfold-gpu /bnfold-gpu

FROM debian:${DEBIAN}-slim AS gpu
ARG DRIVERS=""
# libegl1 and libxext6: NVIDIA's Vulkan driver is a part of its GLX and EGL libraries, which load these two even where
# there is no display (github.com/NVIDIA/nvidia-container-toolkit, issues 16 and 1952).
# hadolint ignore=DL3008,SC2086
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libegl1 libvulkan1 libxext6 $DRIVERS \
    && rm -rf /var/lib/apt/lists/*
# NVIDIA's toolkit mounts its Vulkan driver only for `graphics`; where nothing is said it is compute and utility
# (docs.nvidia.com/datacenter/cloud-native/container-toolkit, "Specialized Configurations with Docker").
# A layer of Mesa complains where XDG_RUNTIME_DIR is not set.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility \
    XDG_RUNTIME_DIR=/tmp
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/bnfold-gpu/
COPY --from=build-gpu /bnfold-gpu /usr/local/bin/bnfold-gpu
# The same number as in the other image; `--user` puts the caller's in its place.
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["bnfold-gpu"]
CMD ["--help"]

# The last stage is what a build without --target makes.
# hadolint ignore=DL3006
FROM ${STATIC} AS cpu
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/bnfold-gpu/
COPY --from=build-cpu /bnfold-gpu /usr/local/bin/bnfold-gpu
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["bnfold-gpu"]
CMD ["--help"]
