const metrics = "metrics that only Istio's build of Envoy keeps, and the image of that is not to be had here";
const wasm = 'a WebAssembly module from an image registry outside, which is out of reach here';

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
