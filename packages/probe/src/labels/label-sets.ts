/** Label names of the metric families, in the order of the exposition. */

const sourceLabels = [
  'source_workload',
  'source_canonical_service',
  'source_canonical_revision',
  'source_workload_namespace',
  'source_principal',
  'source_app',
  'source_version',
  'source_cluster',
] as const;

const destinationLabels = [
  'destination_workload',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_cluster',
] as const;

const connectionLabels = ['request_protocol', 'response_flags', 'connection_security_policy'] as const;
const serviceLabels = [
  'destination_service',
  'destination_service_namespace',
  'destination_service_name',
] as const;
const podLabels = ['destination_pod_address', 'destination_pod_namespace', 'destination_pod_name'] as const;

/** Set T of the ambient contract, 15.2; the last four are omitted when neither peer is known. */
export const trafficLabelNames = [
  'reporter',
  ...sourceLabels,
  ...serviceLabels,
  ...destinationLabels,
  ...connectionLabels,
  'source_region',
  'source_zone',
  'destination_region',
  'destination_zone',
] as const;

/** Set W: Kmesh's workload families. */
export const workloadLabelNames = [
  'reporter',
  ...sourceLabels,
  ...podLabels,
  ...destinationLabels,
  ...connectionLabels,
] as const;

/** Set S: Kmesh's service families. */
export const serviceLabelNames = [
  'reporter',
  ...sourceLabels,
  ...serviceLabels,
  ...destinationLabels,
  ...connectionLabels,
] as const;

/** Labels of the round-trip histogram: few, because each set costs a series per bucket. */
export const roundTripLabelNames = [
  'reporter',
  'source_workload',
  'source_workload_namespace',
  'destination_workload',
  'destination_workload_namespace',
] as const;

/** Labels of route metrics: the dialled service and the chosen backend. */
export const routeLabelNames = [
  'route',
  'destination_service',
  'destination_service_namespace',
  'destination_service_name',
  'destination_port',
  'backend_service',
] as const;
