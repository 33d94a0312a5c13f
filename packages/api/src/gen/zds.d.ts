// Generated from protos/zds.proto by scripts/generate-protos.ts. Do not edit.
import * as $protobuf from "protobufjs/minimal.js";

/** Namespace istio. */
export namespace istio {

    /** Namespace workload. */
    namespace workload {

        /** Namespace zds. */
        namespace zds {

            /** Version enum. */
            enum Version {

                /** NOT_USED value */
                NOT_USED = 0,

                /** V1 value */
                V1 = 1
            }

            /**
             * Properties of a ZdsHello.
             * @deprecated Use istio.workload.zds.ZdsHello.$Properties instead.
             */
            interface IZdsHello extends istio.workload.zds.ZdsHello.$Properties {
            }

            /** Represents a ZdsHello. */
            class ZdsHello {

                /**
                 * Constructs a new ZdsHello.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.workload.zds.ZdsHello.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** ZdsHello version. */
                version: istio.workload.zds.Version;

                /**
                 * Encodes the specified ZdsHello message. Does not implicitly {@link istio.workload.zds.ZdsHello.verify|verify} messages.
                 * @param message ZdsHello message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.workload.zds.ZdsHello.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a ZdsHello message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.workload.zds.ZdsHello & istio.workload.zds.ZdsHello.$Shape} ZdsHello
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.workload.zds.ZdsHello & istio.workload.zds.ZdsHello.$Shape;
            }

            namespace ZdsHello {

                /** Properties of a ZdsHello. */
                interface $Properties {

                    /** ZdsHello version */
                    version?: (istio.workload.zds.Version|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a ZdsHello. */
                type $Shape = istio.workload.zds.ZdsHello.$Properties;
            }

            /**
             * Properties of a WorkloadRequest.
             * @deprecated Use istio.workload.zds.WorkloadRequest.$Properties instead.
             */
            interface IWorkloadRequest extends istio.workload.zds.WorkloadRequest.$Properties {
            }

            /** Represents a WorkloadRequest. */
            class WorkloadRequest {

                /**
                 * Constructs a new WorkloadRequest.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.workload.zds.WorkloadRequest.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** WorkloadRequest add. */
                add?: (istio.workload.zds.AddWorkload.$Properties|null);

                /** WorkloadRequest del. */
                del?: (istio.workload.zds.DelWorkload.$Properties|null);

                /** WorkloadRequest snapshotSent. */
                snapshotSent?: (istio.workload.zds.SnapshotSent.$Properties|null);

                /** WorkloadRequest keep. */
                keep?: (istio.workload.zds.KeepWorkload.$Properties|null);

                /** WorkloadRequest payload. */
                payload?: ("add"|"del"|"snapshotSent"|"keep");

                /**
                 * Encodes the specified WorkloadRequest message. Does not implicitly {@link istio.workload.zds.WorkloadRequest.verify|verify} messages.
                 * @param message WorkloadRequest message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.workload.zds.WorkloadRequest.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a WorkloadRequest message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.workload.zds.WorkloadRequest & istio.workload.zds.WorkloadRequest.$Shape} WorkloadRequest
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.workload.zds.WorkloadRequest & istio.workload.zds.WorkloadRequest.$Shape;
            }

            namespace WorkloadRequest {

                /** Properties of a WorkloadRequest. */
                interface $Properties {

                    /** WorkloadRequest add */
                    add?: (istio.workload.zds.AddWorkload.$Properties|null);

                    /** WorkloadRequest del */
                    del?: (istio.workload.zds.DelWorkload.$Properties|null);

                    /** WorkloadRequest snapshotSent */
                    snapshotSent?: (istio.workload.zds.SnapshotSent.$Properties|null);

                    /** WorkloadRequest keep */
                    keep?: (istio.workload.zds.KeepWorkload.$Properties|null);

                    /** WorkloadRequest payload */
                    payload?: ("add"|"del"|"snapshotSent"|"keep");

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Narrowed shape of a WorkloadRequest. */
                type $Shape = {
                  add?: istio.workload.zds.AddWorkload.$Shape|null;
                  del?: istio.workload.zds.DelWorkload.$Shape|null;
                  snapshotSent?: istio.workload.zds.SnapshotSent.$Shape|null;
                  keep?: istio.workload.zds.KeepWorkload.$Shape|null;
                  $unknowns?: Uint8Array[];
                } & (
                  ({ payload?: undefined; add?: null; del?: null; snapshotSent?: null; keep?: null }|{ payload?: "add"; add: istio.workload.zds.AddWorkload.$Shape; del?: null; snapshotSent?: null; keep?: null }|{ payload?: "del"; add?: null; del: istio.workload.zds.DelWorkload.$Shape; snapshotSent?: null; keep?: null }|{ payload?: "snapshotSent"; add?: null; del?: null; snapshotSent: istio.workload.zds.SnapshotSent.$Shape; keep?: null }|{ payload?: "keep"; add?: null; del?: null; snapshotSent?: null; keep: istio.workload.zds.KeepWorkload.$Shape })
                );
            }

            /**
             * Properties of an AddWorkload.
             * @deprecated Use istio.workload.zds.AddWorkload.$Properties instead.
             */
            interface IAddWorkload extends istio.workload.zds.AddWorkload.$Properties {
            }

            /** Represents an AddWorkload. */
            class AddWorkload {

                /**
                 * Constructs a new AddWorkload.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.workload.zds.AddWorkload.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** AddWorkload uid. */
                uid: string;

                /** AddWorkload workloadInfo. */
                workloadInfo?: (istio.workload.zds.WorkloadInfo.$Properties|null);

                /**
                 * Encodes the specified AddWorkload message. Does not implicitly {@link istio.workload.zds.AddWorkload.verify|verify} messages.
                 * @param message AddWorkload message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.workload.zds.AddWorkload.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes an AddWorkload message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.workload.zds.AddWorkload & istio.workload.zds.AddWorkload.$Shape} AddWorkload
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.workload.zds.AddWorkload & istio.workload.zds.AddWorkload.$Shape;
            }

            namespace AddWorkload {

                /** Properties of an AddWorkload. */
                interface $Properties {

                    /** AddWorkload uid */
                    uid?: (string|null);

                    /** AddWorkload workloadInfo */
                    workloadInfo?: (istio.workload.zds.WorkloadInfo.$Properties|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of an AddWorkload. */
                type $Shape = istio.workload.zds.AddWorkload.$Properties;
            }

            /**
             * Properties of a WorkloadInfo.
             * @deprecated Use istio.workload.zds.WorkloadInfo.$Properties instead.
             */
            interface IWorkloadInfo extends istio.workload.zds.WorkloadInfo.$Properties {
            }

            /** Represents a WorkloadInfo. */
            class WorkloadInfo {

                /**
                 * Constructs a new WorkloadInfo.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.workload.zds.WorkloadInfo.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** WorkloadInfo name. */
                name: string;

                /** WorkloadInfo namespace. */
                namespace: string;

                /** WorkloadInfo serviceAccount. */
                serviceAccount: string;

                /**
                 * Encodes the specified WorkloadInfo message. Does not implicitly {@link istio.workload.zds.WorkloadInfo.verify|verify} messages.
                 * @param message WorkloadInfo message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.workload.zds.WorkloadInfo.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a WorkloadInfo message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.workload.zds.WorkloadInfo & istio.workload.zds.WorkloadInfo.$Shape} WorkloadInfo
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.workload.zds.WorkloadInfo & istio.workload.zds.WorkloadInfo.$Shape;
            }

            namespace WorkloadInfo {

                /** Properties of a WorkloadInfo. */
                interface $Properties {

                    /** WorkloadInfo name */
                    name?: (string|null);

                    /** WorkloadInfo namespace */
                    namespace?: (string|null);

                    /** WorkloadInfo serviceAccount */
                    serviceAccount?: (string|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a WorkloadInfo. */
                type $Shape = istio.workload.zds.WorkloadInfo.$Properties;
            }

            /**
             * Properties of a KeepWorkload.
             * @deprecated Use istio.workload.zds.KeepWorkload.$Properties instead.
             */
            interface IKeepWorkload extends istio.workload.zds.KeepWorkload.$Properties {
            }

            /** Represents a KeepWorkload. */
            class KeepWorkload {

                /**
                 * Constructs a new KeepWorkload.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.workload.zds.KeepWorkload.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** KeepWorkload uid. */
                uid: string;

                /**
                 * Encodes the specified KeepWorkload message. Does not implicitly {@link istio.workload.zds.KeepWorkload.verify|verify} messages.
                 * @param message KeepWorkload message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.workload.zds.KeepWorkload.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a KeepWorkload message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.workload.zds.KeepWorkload & istio.workload.zds.KeepWorkload.$Shape} KeepWorkload
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.workload.zds.KeepWorkload & istio.workload.zds.KeepWorkload.$Shape;
            }

            namespace KeepWorkload {

                /** Properties of a KeepWorkload. */
                interface $Properties {

                    /** KeepWorkload uid */
                    uid?: (string|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a KeepWorkload. */
                type $Shape = istio.workload.zds.KeepWorkload.$Properties;
            }

            /**
             * Properties of a DelWorkload.
             * @deprecated Use istio.workload.zds.DelWorkload.$Properties instead.
             */
            interface IDelWorkload extends istio.workload.zds.DelWorkload.$Properties {
            }

            /** Represents a DelWorkload. */
            class DelWorkload {

                /**
                 * Constructs a new DelWorkload.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.workload.zds.DelWorkload.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** DelWorkload uid. */
                uid: string;

                /**
                 * Encodes the specified DelWorkload message. Does not implicitly {@link istio.workload.zds.DelWorkload.verify|verify} messages.
                 * @param message DelWorkload message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.workload.zds.DelWorkload.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a DelWorkload message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.workload.zds.DelWorkload & istio.workload.zds.DelWorkload.$Shape} DelWorkload
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.workload.zds.DelWorkload & istio.workload.zds.DelWorkload.$Shape;
            }

            namespace DelWorkload {

                /** Properties of a DelWorkload. */
                interface $Properties {

                    /** DelWorkload uid */
                    uid?: (string|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a DelWorkload. */
                type $Shape = istio.workload.zds.DelWorkload.$Properties;
            }

            /**
             * Properties of a SnapshotSent.
             * @deprecated Use istio.workload.zds.SnapshotSent.$Properties instead.
             */
            interface ISnapshotSent extends istio.workload.zds.SnapshotSent.$Properties {
            }

            /** Represents a SnapshotSent. */
            class SnapshotSent {

                /**
                 * Constructs a new SnapshotSent.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.workload.zds.SnapshotSent.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /**
                 * Encodes the specified SnapshotSent message. Does not implicitly {@link istio.workload.zds.SnapshotSent.verify|verify} messages.
                 * @param message SnapshotSent message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.workload.zds.SnapshotSent.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a SnapshotSent message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.workload.zds.SnapshotSent & istio.workload.zds.SnapshotSent.$Shape} SnapshotSent
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.workload.zds.SnapshotSent & istio.workload.zds.SnapshotSent.$Shape;
            }

            namespace SnapshotSent {

                /** Properties of a SnapshotSent. */
                interface $Properties {

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a SnapshotSent. */
                type $Shape = istio.workload.zds.SnapshotSent.$Properties;
            }

            /**
             * Properties of a WorkloadResponse.
             * @deprecated Use istio.workload.zds.WorkloadResponse.$Properties instead.
             */
            interface IWorkloadResponse extends istio.workload.zds.WorkloadResponse.$Properties {
            }

            /** Represents a WorkloadResponse. */
            class WorkloadResponse {

                /**
                 * Constructs a new WorkloadResponse.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.workload.zds.WorkloadResponse.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** WorkloadResponse ack. */
                ack?: (istio.workload.zds.Ack.$Properties|null);

                /** WorkloadResponse payload. */
                payload?: "ack";

                /**
                 * Encodes the specified WorkloadResponse message. Does not implicitly {@link istio.workload.zds.WorkloadResponse.verify|verify} messages.
                 * @param message WorkloadResponse message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.workload.zds.WorkloadResponse.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a WorkloadResponse message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.workload.zds.WorkloadResponse & istio.workload.zds.WorkloadResponse.$Shape} WorkloadResponse
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.workload.zds.WorkloadResponse & istio.workload.zds.WorkloadResponse.$Shape;
            }

            namespace WorkloadResponse {

                /** Properties of a WorkloadResponse. */
                interface $Properties {

                    /** WorkloadResponse ack */
                    ack?: (istio.workload.zds.Ack.$Properties|null);

                    /** WorkloadResponse payload */
                    payload?: "ack";

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Narrowed shape of a WorkloadResponse. */
                type $Shape = {
                  ack?: istio.workload.zds.Ack.$Shape|null;
                  $unknowns?: Uint8Array[];
                } & (
                  ({ payload?: undefined; ack?: null }|{ payload?: "ack"; ack: istio.workload.zds.Ack.$Shape })
                );
            }

            /**
             * Properties of an Ack.
             * @deprecated Use istio.workload.zds.Ack.$Properties instead.
             */
            interface IAck extends istio.workload.zds.Ack.$Properties {
            }

            /** Represents an Ack. */
            class Ack {

                /**
                 * Constructs a new Ack.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.workload.zds.Ack.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Ack error. */
                error: string;

                /**
                 * Encodes the specified Ack message. Does not implicitly {@link istio.workload.zds.Ack.verify|verify} messages.
                 * @param message Ack message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.workload.zds.Ack.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes an Ack message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.workload.zds.Ack & istio.workload.zds.Ack.$Shape} Ack
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.workload.zds.Ack & istio.workload.zds.Ack.$Shape;
            }

            namespace Ack {

                /** Properties of an Ack. */
                interface $Properties {

                    /** Ack error */
                    error?: (string|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of an Ack. */
                type $Shape = istio.workload.zds.Ack.$Properties;
            }
        }
    }
}
