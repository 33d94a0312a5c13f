import assert from 'node:assert/strict';
import { test } from 'node:test';
import { xds } from '@kmesh/api';
import { proxyMetadata } from '../../src/config/computed.ts';
import { nodeMessage } from '../../src/xds/requests.ts';

const bare = { instanceIp: '', podName: 'p', podNamespace: 'ns', nodeName: 'n', metadata: {} };

test('XDS-02: JSON metadata becomes the matching Struct values, JSON that does not parse is skipped', () => {
  const environment = {
    ISTIO_METAJSON_NULL: 'null',
    ISTIO_METAJSON_BOOL: 'true',
    ISTIO_METAJSON_NUMBER: '1.5',
    ISTIO_METAJSON_TEXT: '"x"',
    ISTIO_METAJSON_LIST: '[1, "a", [false]]',
    ISTIO_METAJSON_OBJECT: '{"inner": {"deep": null}}',
    ISTIO_METAJSON_BAD: '{',
    ISTIO_META_PLAIN: '42',
  };
  const { metadata, skipped } = proxyMetadata(environment, {});
  const decoded = xds.Node.decode(xds.Node.encode(nodeMessage({ ...bare, metadata })));
  assert.deepEqual(skipped, ['ISTIO_METAJSON_BAD']);
  assert.deepEqual(JSON.parse(JSON.stringify(decoded.metadata?.fields)), {
    NAME: { stringValue: 'p' },
    NAMESPACE: { stringValue: 'ns' },
    INSTANCE_IPS: { stringValue: '1.1.1.1' },
    NODE_NAME: { stringValue: 'n' },
    PLAIN: { stringValue: '42' },
    NULL: { nullValue: 0 },
    BOOL: { boolValue: true },
    NUMBER: { numberValue: 1.5 },
    TEXT: { stringValue: 'x' },
    LIST: {
      listValue: {
        values: [{ numberValue: 1 }, { stringValue: 'a' }, { listValue: { values: [{ boolValue: false }] } }],
      },
    },
    OBJECT: {
      structValue: { fields: { inner: { structValue: { fields: { deep: { nullValue: 0 } } } } } },
    },
  });
});

test('proxy metadata overrides the metadata of the pod', () => {
  const { metadata } = nodeMessage({ ...bare, instanceIp: '10.0.0.1', metadata: { NODE_NAME: 'other' } });
  assert.deepEqual(metadata?.fields?.['NODE_NAME'], { stringValue: 'other' });
  assert.deepEqual(metadata?.fields?.['INSTANCE_IPS'], { stringValue: '10.0.0.1' });
});
