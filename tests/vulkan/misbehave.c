// Test of the GPU engine: a Vulkan layer that makes a device misbehave, as broken drivers, cards and cables do.
//
// In: environment variables. Out: between the program and a real driver (a software one will do), calls that are dropped,
// cut short, refused, or never answered, and properties that are those of other cards. tests/it/faults.rs builds and loads it.
//
//   MISBEHAVE_FAULT   submit    command buffers are dropped, and said to be done
//                     dispatch  dispatches are dropped
//                     half      dispatches end half way
//                     copy      copies between buffers are dropped
//                     hang      submissions are never done
//                     lost      submissions say that the device is lost
//                     memory    one allocation of device memory fails
//   MISBEHAVE_FROM    the first submission that it happens to, counted from 1; for `memory`, the allocation. What a command
//                     buffer holds is recorded before it is submitted, so these count command buffers.
//   MISBEHAVE_COUNT   a file for the numbers of submissions and allocations, written when the device is destroyed
//   MISBEHAVE_AS      discrete  the adapter is a card with memory of its own; minimal: with the limits that WebGPU promises
//                     everywhere; both, with a comma between

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define EXPORT __attribute__((visibility("default")))

// There is one instance and one device at a time in a run of the program.
static PFN_vkGetInstanceProcAddr next_instance_proc;
static PFN_vkGetDeviceProcAddr next_device_proc;
static VkInstance the_instance;

static PFN_vkGetPhysicalDeviceProperties real_properties;
static PFN_vkGetPhysicalDeviceProperties2 real_properties2;
static PFN_vkDestroyDevice real_destroy_device;
static PFN_vkQueueSubmit real_submit;
static PFN_vkBeginCommandBuffer real_begin;
static PFN_vkCmdDispatch real_dispatch;
static PFN_vkCmdCopyBuffer real_copy;
static PFN_vkAllocateMemory real_allocate;

static atomic_int submissions, recordings, allocations;

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static int is_fault(const char *fault) { return strcmp(setting("MISBEHAVE_FAULT"), fault) == 0; }

static int from(void) {
    const int number = atoi(setting("MISBEHAVE_FROM"));
    return number > 0 ? number : 1;
}

static void disguise(VkPhysicalDeviceProperties *properties) {
    const char *as = setting("MISBEHAVE_AS");
    if (strstr(as, "discrete")) {
        properties->deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
    }
    if (strstr(as, "minimal")) {
        VkPhysicalDeviceLimits *limits = &properties->limits;
        limits->maxStorageBufferRange = 128u << 20;
        limits->maxUniformBufferRange = 64u << 10;
        limits->minStorageBufferOffsetAlignment = 256;
        limits->minUniformBufferOffsetAlignment = 256;
        limits->maxPerStageDescriptorStorageBuffers = 8;
        limits->maxDescriptorSetStorageBuffers = 24;
        limits->maxComputeSharedMemorySize = 16384;
        limits->maxComputeWorkGroupInvocations = 256;
        const uint32_t count[] = {65535, 65535, 65535}, size[] = {256, 256, 64};
        memcpy(limits->maxComputeWorkGroupCount, count, sizeof count);
        memcpy(limits->maxComputeWorkGroupSize, size, sizeof size);
    }
}

static VKAPI_ATTR void VKAPI_CALL properties(VkPhysicalDevice device, VkPhysicalDeviceProperties *found) {
    real_properties(device, found);
    disguise(found);
}

static VKAPI_ATTR void VKAPI_CALL properties2(VkPhysicalDevice device, VkPhysicalDeviceProperties2 *found) {
    real_properties2(device, found);
    disguise(&found->properties);
}

static VKAPI_ATTR VkResult VKAPI_CALL submit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos, VkFence fence) {
    if (atomic_fetch_add(&submissions, 1) + 1 < from()) {
        return real_submit(queue, count, infos, fence);
    }
    if (is_fault("lost")) {
        return VK_ERROR_DEVICE_LOST;
    }
    if (is_fault("hang")) {
        return VK_SUCCESS;
    }
    if (is_fault("submit") && count > 0) {
        // Semaphores and fences are signalled as if all had been done.
        VkSubmitInfo empty[16];
        const uint32_t some = count < 16 ? count : 16;
        for (uint32_t n = 0; n < some; n++) {
            empty[n] = infos[n];
            empty[n].commandBufferCount = 0;
            empty[n].pCommandBuffers = NULL;
        }
        return real_submit(queue, some, empty, fence);
    }
    return real_submit(queue, count, infos, fence);
}

static VKAPI_ATTR VkResult VKAPI_CALL begin(VkCommandBuffer buffer, const VkCommandBufferBeginInfo *info) {
    atomic_fetch_add(&recordings, 1);
    return real_begin(buffer, info);
}

static VKAPI_ATTR void VKAPI_CALL dispatch(VkCommandBuffer buffer, uint32_t x, uint32_t y, uint32_t z) {
    if (atomic_load(&recordings) >= from()) {
        if (is_fault("dispatch")) {
            return;
        }
        if (is_fault("half")) {
            x /= 2;
        }
    }
    if (x > 0) {
        real_dispatch(buffer, x, y, z);
    }
}

static VKAPI_ATTR void VKAPI_CALL copy(VkCommandBuffer buffer, VkBuffer source, VkBuffer target, uint32_t count,
                                       const VkBufferCopy *regions) {
    if (!is_fault("copy") || atomic_load(&recordings) < from()) {
        real_copy(buffer, source, target, count, regions);
    }
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate(VkDevice device, const VkMemoryAllocateInfo *info,
                                               const VkAllocationCallbacks *callbacks, VkDeviceMemory *memory) {
    const int number = atomic_fetch_add(&allocations, 1) + 1;
    if (is_fault("memory") && number == from()) {
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    return real_allocate(device, info, callbacks, memory);
}

static VKAPI_ATTR void VKAPI_CALL destroy_device(VkDevice device, const VkAllocationCallbacks *callbacks) {
    const char *path = setting("MISBEHAVE_COUNT");
    FILE *file = *path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%d %d %d\n", atomic_load(&submissions), atomic_load(&recordings), atomic_load(&allocations));
        fclose(file);
    }
    // A device that hangs would be waited for.
    if (!is_fault("hang")) {
        real_destroy_device(device, callbacks);
    }
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *callbacks, VkInstance *instance) {
    VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)info->pNext;
    while (link && (link->sType != VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO || link->function != VK_LAYER_LINK_INFO)) {
        link = (VkLayerInstanceCreateInfo *)link->pNext;
    }
    if (!link) {
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    next_instance_proc = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)next_instance_proc(NULL, "vkCreateInstance");
    const VkResult result = create(info, callbacks, instance);
    if (result == VK_SUCCESS) {
        the_instance = *instance;
        real_properties =
            (PFN_vkGetPhysicalDeviceProperties)next_instance_proc(*instance, "vkGetPhysicalDeviceProperties");
        real_properties2 =
            (PFN_vkGetPhysicalDeviceProperties2)next_instance_proc(*instance, "vkGetPhysicalDeviceProperties2");
    }
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks, VkDevice *device) {
    VkLayerDeviceCreateInfo *link = (VkLayerDeviceCreateInfo *)info->pNext;
    while (link && (link->sType != VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO || link->function != VK_LAYER_LINK_INFO)) {
        link = (VkLayerDeviceCreateInfo *)link->pNext;
    }
    if (!link) {
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    PFN_vkGetInstanceProcAddr instance_proc = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    next_device_proc = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    PFN_vkCreateDevice create = (PFN_vkCreateDevice)instance_proc(the_instance, "vkCreateDevice");
    const VkResult result = create(physical, info, callbacks, device);
    if (result == VK_SUCCESS) {
#define REAL(name, call) name = (PFN_##call)next_device_proc(*device, #call)
        REAL(real_destroy_device, vkDestroyDevice);
        REAL(real_submit, vkQueueSubmit);
        REAL(real_begin, vkBeginCommandBuffer);
        REAL(real_dispatch, vkCmdDispatch);
        REAL(real_copy, vkCmdCopyBuffer);
        REAL(real_allocate, vkAllocateMemory);
    }
    return result;
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL misbehave_device_proc(VkDevice device, const char *name);
EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL misbehave_instance_proc(VkInstance instance, const char *name);

static PFN_vkVoidFunction ours(const char *name) {
    static const struct {
        const char *name;
        PFN_vkVoidFunction call;
    } calls[] = {
        {"vkGetInstanceProcAddr", (PFN_vkVoidFunction)misbehave_instance_proc},
        {"vkGetDeviceProcAddr", (PFN_vkVoidFunction)misbehave_device_proc},
        {"vkCreateInstance", (PFN_vkVoidFunction)create_instance},
        {"vkCreateDevice", (PFN_vkVoidFunction)create_device},
        {"vkGetPhysicalDeviceProperties", (PFN_vkVoidFunction)properties},
        {"vkGetPhysicalDeviceProperties2", (PFN_vkVoidFunction)properties2},
        {"vkGetPhysicalDeviceProperties2KHR", (PFN_vkVoidFunction)properties2},
        {"vkDestroyDevice", (PFN_vkVoidFunction)destroy_device},
        {"vkQueueSubmit", (PFN_vkVoidFunction)submit},
        {"vkBeginCommandBuffer", (PFN_vkVoidFunction)begin},
        {"vkCmdDispatch", (PFN_vkVoidFunction)dispatch},
        {"vkCmdCopyBuffer", (PFN_vkVoidFunction)copy},
        {"vkAllocateMemory", (PFN_vkVoidFunction)allocate},
    };
    for (size_t n = 0; n < sizeof calls / sizeof *calls; n++) {
        if (strcmp(name, calls[n].name) == 0) {
            return calls[n].call;
        }
    }
    return NULL;
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL misbehave_device_proc(VkDevice device, const char *name) {
    PFN_vkVoidFunction call = ours(name);
    return call ? call : next_device_proc(device, name);
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL misbehave_instance_proc(VkInstance instance, const char *name) {
    PFN_vkVoidFunction call = ours(name);
    return call || !next_instance_proc ? call : next_instance_proc(instance, name);
}
