#!/bin/sh
# Runs a command on one software Vulkan driver: vulkan_env.sh llvmpipe|swiftshader COMMAND…
# Only that driver is loaded, and the validation layers are on. Without the driver the exit status is 77 (skipped), but in CI
# (CI or LATENTD_REQUIRE_VULKAN set) it is 1. LATENTD_SWIFTSHADER_ICD names SwiftShader's manifest where it lies elsewhere.
driver=$1
shift
case $driver in
llvmpipe) files="/usr/share/vulkan/icd.d/lvp_icd.json /usr/share/vulkan/icd.d/lvp_icd.*.json" ;;
swiftshader)
    files="$LATENTD_SWIFTSHADER_ICD /usr/lib/chromium/vk_swiftshader_icd.json
        /usr/lib/chromium-browser/vk_swiftshader_icd.json /opt/google/chrome/vk_swiftshader_icd.json"
    ;;
*)
    echo "vulkan_env.sh: unknown driver $driver" >&2
    exit 2
    ;;
esac
icd=
for f in $files; do
    [ -r "$f" ] && icd=$f && break
done
if [ -z "$icd" ]; then
    echo "vulkan_env.sh: no $driver (llvmpipe: package mesa-vulkan-drivers, swiftshader: package chromium)" >&2
    [ -n "$CI$LATENTD_REQUIRE_VULKAN" ] && exit 1
    exit 77
fi
export VK_DRIVER_FILES="$icd" VK_ICD_FILENAMES="$icd"
export LATENTD_VULKAN_VALIDATE="${LATENTD_VULKAN_VALIDATE-1}"
# Newer layers see what dispatches read and write only when asked to.
export VK_KHRONOS_VALIDATION_SYNCVAL_SHADER_ACCESSES_HEURISTIC="${VK_KHRONOS_VALIDATION_SYNCVAL_SHADER_ACCESSES_HEURISTIC-1}"
export LATENTD_TEST_DRIVER="$driver"
LSAN_OPTIONS="${LSAN_OPTIONS:+$LSAN_OPTIONS:}suppressions=$(dirname "$0")/lsan.supp:print_suppressions=0"
export LSAN_OPTIONS
[ -n "$CI$LATENTD_REQUIRE_VULKAN" ] || exec "$@"
"$@"
status=$?
# A driver or a layer that does not load; but one that lacks what a way of products takes is no failure.
[ $status != 77 ] || [ -n "${LATENTD_VULKAN_MATMUL:-}" ] || status=1
exit $status
