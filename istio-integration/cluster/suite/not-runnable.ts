const metrics = "metrics of Istio's build of Envoy, whose image is not available here";
const wasm = 'a WebAssembly module from an outside image registry, which cannot be reached here';

/**
 * Istio's ambient tests, or parts after a slash, that cannot run in this cluster, with the reason. Others skip
 * themselves.
 */
export const notRunnable: Readonly<Record<string, string>> = {
  TestL7Telemetry: metrics,
  TestCustomizeMetrics: metrics,
  TestTrafficExtension_WasmConfigurations: wasm,
  TestWasmPluginConfigurations: wasm,
};
