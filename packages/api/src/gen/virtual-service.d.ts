// Generated from protos/virtual_service.proto by scripts/generate-protos.ts. Do not edit.
import * as $protobuf from "protobufjs/minimal.js";

/** Namespace istio. */
export namespace istio {

    /** Namespace networking. */
    namespace networking {

        /** Namespace v1alpha3. */
        namespace v1alpha3 {

            /**
             * Properties of a VirtualService.
             * @deprecated Use istio.networking.v1alpha3.VirtualService.$Properties instead.
             */
            interface IVirtualService extends istio.networking.v1alpha3.VirtualService.$Properties {
            }

            /** Represents a VirtualService. */
            class VirtualService {

                /**
                 * Constructs a new VirtualService.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.networking.v1alpha3.VirtualService.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** VirtualService hosts. */
                hosts: string[];

                /** VirtualService gateways. */
                gateways: string[];

                /** VirtualService http. */
                http: istio.networking.v1alpha3.HTTPRoute.$Properties[];

                /** VirtualService tcp. */
                tcp: istio.networking.v1alpha3.TCPRoute.$Properties[];

                /** VirtualService tls. */
                tls: Uint8Array[];

                /** VirtualService exportTo. */
                exportTo: string[];

                /**
                 * Encodes the specified VirtualService message. Does not implicitly {@link istio.networking.v1alpha3.VirtualService.verify|verify} messages.
                 * @param message VirtualService message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.networking.v1alpha3.VirtualService.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a VirtualService message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.networking.v1alpha3.VirtualService & istio.networking.v1alpha3.VirtualService.$Shape} VirtualService
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.networking.v1alpha3.VirtualService & istio.networking.v1alpha3.VirtualService.$Shape;
            }

            namespace VirtualService {

                /** Properties of a VirtualService. */
                interface $Properties {

                    /** VirtualService hosts */
                    hosts?: (string[]|null);

                    /** VirtualService gateways */
                    gateways?: (string[]|null);

                    /** VirtualService http */
                    http?: (istio.networking.v1alpha3.HTTPRoute.$Properties[]|null);

                    /** VirtualService tcp */
                    tcp?: (istio.networking.v1alpha3.TCPRoute.$Properties[]|null);

                    /** VirtualService tls */
                    tls?: (Uint8Array[]|null);

                    /** VirtualService exportTo */
                    exportTo?: (string[]|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a VirtualService. */
                type $Shape = {
                  hosts?: string[]|null;
                  gateways?: string[]|null;
                  http?: istio.networking.v1alpha3.HTTPRoute.$Shape[]|null;
                  tcp?: istio.networking.v1alpha3.TCPRoute.$Shape[]|null;
                  tls?: Uint8Array[]|null;
                  exportTo?: string[]|null;
                  $unknowns?: Uint8Array[];
                };
            }

            /**
             * Properties of a Destination.
             * @deprecated Use istio.networking.v1alpha3.Destination.$Properties instead.
             */
            interface IDestination extends istio.networking.v1alpha3.Destination.$Properties {
            }

            /** Represents a Destination. */
            class Destination {

                /**
                 * Constructs a new Destination.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.networking.v1alpha3.Destination.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Destination host. */
                host: string;

                /** Destination subset. */
                subset: string;

                /** Destination port. */
                port?: (istio.networking.v1alpha3.PortSelector.$Properties|null);

                /**
                 * Encodes the specified Destination message. Does not implicitly {@link istio.networking.v1alpha3.Destination.verify|verify} messages.
                 * @param message Destination message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.networking.v1alpha3.Destination.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a Destination message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.networking.v1alpha3.Destination & istio.networking.v1alpha3.Destination.$Shape} Destination
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.networking.v1alpha3.Destination & istio.networking.v1alpha3.Destination.$Shape;
            }

            namespace Destination {

                /** Properties of a Destination. */
                interface $Properties {

                    /** Destination host */
                    host?: (string|null);

                    /** Destination subset */
                    subset?: (string|null);

                    /** Destination port */
                    port?: (istio.networking.v1alpha3.PortSelector.$Properties|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a Destination. */
                type $Shape = istio.networking.v1alpha3.Destination.$Properties;
            }

            /**
             * Properties of a PortSelector.
             * @deprecated Use istio.networking.v1alpha3.PortSelector.$Properties instead.
             */
            interface IPortSelector extends istio.networking.v1alpha3.PortSelector.$Properties {
            }

            /** Represents a PortSelector. */
            class PortSelector {

                /**
                 * Constructs a new PortSelector.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.networking.v1alpha3.PortSelector.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** PortSelector number. */
                number: number;

                /**
                 * Encodes the specified PortSelector message. Does not implicitly {@link istio.networking.v1alpha3.PortSelector.verify|verify} messages.
                 * @param message PortSelector message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.networking.v1alpha3.PortSelector.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a PortSelector message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.networking.v1alpha3.PortSelector & istio.networking.v1alpha3.PortSelector.$Shape} PortSelector
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.networking.v1alpha3.PortSelector & istio.networking.v1alpha3.PortSelector.$Shape;
            }

            namespace PortSelector {

                /** Properties of a PortSelector. */
                interface $Properties {

                    /** PortSelector number */
                    number?: (number|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a PortSelector. */
                type $Shape = istio.networking.v1alpha3.PortSelector.$Properties;
            }

            /**
             * Properties of a HTTPRoute.
             * @deprecated Use istio.networking.v1alpha3.HTTPRoute.$Properties instead.
             */
            interface IHTTPRoute extends istio.networking.v1alpha3.HTTPRoute.$Properties {
            }

            /** Represents a HTTPRoute. */
            class HTTPRoute {

                /**
                 * Constructs a new HTTPRoute.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.networking.v1alpha3.HTTPRoute.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** HTTPRoute match. */
                match: istio.networking.v1alpha3.HTTPMatchRequest.$Properties[];

                /** HTTPRoute route. */
                route: istio.networking.v1alpha3.HTTPRouteDestination.$Properties[];

                /** HTTPRoute redirect. */
                redirect?: (Uint8Array|null);

                /** HTTPRoute rewrite. */
                rewrite?: (Uint8Array|null);

                /** HTTPRoute timeout. */
                timeout?: (Uint8Array|null);

                /** HTTPRoute retries. */
                retries?: (Uint8Array|null);

                /** HTTPRoute fault. */
                fault?: (Uint8Array|null);

                /** HTTPRoute mirror. */
                mirror?: (Uint8Array|null);

                /** HTTPRoute corsPolicy. */
                corsPolicy?: (Uint8Array|null);

                /** HTTPRoute headers. */
                headers?: (Uint8Array|null);

                /** HTTPRoute name. */
                name: string;

                /** HTTPRoute mirrorPercent. */
                mirrorPercent?: (Uint8Array|null);

                /** HTTPRoute mirrorPercentage. */
                mirrorPercentage?: (Uint8Array|null);

                /** HTTPRoute delegate. */
                delegate?: (Uint8Array|null);

                /** HTTPRoute mirrors. */
                mirrors: Uint8Array[];

                /** HTTPRoute directResponse. */
                directResponse?: (Uint8Array|null);

                /**
                 * Encodes the specified HTTPRoute message. Does not implicitly {@link istio.networking.v1alpha3.HTTPRoute.verify|verify} messages.
                 * @param message HTTPRoute message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.networking.v1alpha3.HTTPRoute.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a HTTPRoute message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.networking.v1alpha3.HTTPRoute & istio.networking.v1alpha3.HTTPRoute.$Shape} HTTPRoute
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.networking.v1alpha3.HTTPRoute & istio.networking.v1alpha3.HTTPRoute.$Shape;
            }

            namespace HTTPRoute {

                /** Properties of a HTTPRoute. */
                interface $Properties {

                    /** HTTPRoute match */
                    match?: (istio.networking.v1alpha3.HTTPMatchRequest.$Properties[]|null);

                    /** HTTPRoute route */
                    route?: (istio.networking.v1alpha3.HTTPRouteDestination.$Properties[]|null);

                    /** HTTPRoute redirect */
                    redirect?: (Uint8Array|null);

                    /** HTTPRoute rewrite */
                    rewrite?: (Uint8Array|null);

                    /** HTTPRoute timeout */
                    timeout?: (Uint8Array|null);

                    /** HTTPRoute retries */
                    retries?: (Uint8Array|null);

                    /** HTTPRoute fault */
                    fault?: (Uint8Array|null);

                    /** HTTPRoute mirror */
                    mirror?: (Uint8Array|null);

                    /** HTTPRoute corsPolicy */
                    corsPolicy?: (Uint8Array|null);

                    /** HTTPRoute headers */
                    headers?: (Uint8Array|null);

                    /** HTTPRoute name */
                    name?: (string|null);

                    /** HTTPRoute mirrorPercent */
                    mirrorPercent?: (Uint8Array|null);

                    /** HTTPRoute mirrorPercentage */
                    mirrorPercentage?: (Uint8Array|null);

                    /** HTTPRoute delegate */
                    delegate?: (Uint8Array|null);

                    /** HTTPRoute mirrors */
                    mirrors?: (Uint8Array[]|null);

                    /** HTTPRoute directResponse */
                    directResponse?: (Uint8Array|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a HTTPRoute. */
                type $Shape = {
                  match?: istio.networking.v1alpha3.HTTPMatchRequest.$Shape[]|null;
                  route?: istio.networking.v1alpha3.HTTPRouteDestination.$Shape[]|null;
                  redirect?: Uint8Array|null;
                  rewrite?: Uint8Array|null;
                  timeout?: Uint8Array|null;
                  retries?: Uint8Array|null;
                  fault?: Uint8Array|null;
                  mirror?: Uint8Array|null;
                  corsPolicy?: Uint8Array|null;
                  headers?: Uint8Array|null;
                  name?: string|null;
                  mirrorPercent?: Uint8Array|null;
                  mirrorPercentage?: Uint8Array|null;
                  delegate?: Uint8Array|null;
                  mirrors?: Uint8Array[]|null;
                  directResponse?: Uint8Array|null;
                  $unknowns?: Uint8Array[];
                };
            }

            /**
             * Properties of a HTTPMatchRequest.
             * @deprecated Use istio.networking.v1alpha3.HTTPMatchRequest.$Properties instead.
             */
            interface IHTTPMatchRequest extends istio.networking.v1alpha3.HTTPMatchRequest.$Properties {
            }

            /** Represents a HTTPMatchRequest. */
            class HTTPMatchRequest {

                /**
                 * Constructs a new HTTPMatchRequest.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.networking.v1alpha3.HTTPMatchRequest.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** HTTPMatchRequest uri. */
                uri?: (istio.networking.v1alpha3.StringMatch.$Properties|null);

                /** HTTPMatchRequest scheme. */
                scheme?: (Uint8Array|null);

                /** HTTPMatchRequest method. */
                method?: (Uint8Array|null);

                /** HTTPMatchRequest authority. */
                authority?: (Uint8Array|null);

                /** HTTPMatchRequest headers. */
                headers: Uint8Array[];

                /** HTTPMatchRequest port. */
                port: number;

                /** HTTPMatchRequest sourceLabels. */
                sourceLabels: Uint8Array[];

                /** HTTPMatchRequest gateways. */
                gateways: string[];

                /** HTTPMatchRequest queryParams. */
                queryParams: Uint8Array[];

                /** HTTPMatchRequest ignoreUriCase. */
                ignoreUriCase: boolean;

                /** HTTPMatchRequest name. */
                name: string;

                /** HTTPMatchRequest withoutHeaders. */
                withoutHeaders: Uint8Array[];

                /** HTTPMatchRequest sourceNamespace. */
                sourceNamespace: string;

                /** HTTPMatchRequest statPrefix. */
                statPrefix: string;

                /**
                 * Encodes the specified HTTPMatchRequest message. Does not implicitly {@link istio.networking.v1alpha3.HTTPMatchRequest.verify|verify} messages.
                 * @param message HTTPMatchRequest message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.networking.v1alpha3.HTTPMatchRequest.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a HTTPMatchRequest message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.networking.v1alpha3.HTTPMatchRequest & istio.networking.v1alpha3.HTTPMatchRequest.$Shape} HTTPMatchRequest
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.networking.v1alpha3.HTTPMatchRequest & istio.networking.v1alpha3.HTTPMatchRequest.$Shape;
            }

            namespace HTTPMatchRequest {

                /** Properties of a HTTPMatchRequest. */
                interface $Properties {

                    /** HTTPMatchRequest uri */
                    uri?: (istio.networking.v1alpha3.StringMatch.$Properties|null);

                    /** HTTPMatchRequest scheme */
                    scheme?: (Uint8Array|null);

                    /** HTTPMatchRequest method */
                    method?: (Uint8Array|null);

                    /** HTTPMatchRequest authority */
                    authority?: (Uint8Array|null);

                    /** HTTPMatchRequest headers */
                    headers?: (Uint8Array[]|null);

                    /** HTTPMatchRequest port */
                    port?: (number|null);

                    /** HTTPMatchRequest sourceLabels */
                    sourceLabels?: (Uint8Array[]|null);

                    /** HTTPMatchRequest gateways */
                    gateways?: (string[]|null);

                    /** HTTPMatchRequest queryParams */
                    queryParams?: (Uint8Array[]|null);

                    /** HTTPMatchRequest ignoreUriCase */
                    ignoreUriCase?: (boolean|null);

                    /** HTTPMatchRequest name */
                    name?: (string|null);

                    /** HTTPMatchRequest withoutHeaders */
                    withoutHeaders?: (Uint8Array[]|null);

                    /** HTTPMatchRequest sourceNamespace */
                    sourceNamespace?: (string|null);

                    /** HTTPMatchRequest statPrefix */
                    statPrefix?: (string|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a HTTPMatchRequest. */
                type $Shape = {
                  uri?: istio.networking.v1alpha3.StringMatch.$Shape|null;
                  scheme?: Uint8Array|null;
                  method?: Uint8Array|null;
                  authority?: Uint8Array|null;
                  headers?: Uint8Array[]|null;
                  port?: number|null;
                  sourceLabels?: Uint8Array[]|null;
                  gateways?: string[]|null;
                  queryParams?: Uint8Array[]|null;
                  ignoreUriCase?: boolean|null;
                  name?: string|null;
                  withoutHeaders?: Uint8Array[]|null;
                  sourceNamespace?: string|null;
                  statPrefix?: string|null;
                  $unknowns?: Uint8Array[];
                };
            }

            /**
             * Properties of a StringMatch.
             * @deprecated Use istio.networking.v1alpha3.StringMatch.$Properties instead.
             */
            interface IStringMatch extends istio.networking.v1alpha3.StringMatch.$Properties {
            }

            /** Represents a StringMatch. */
            class StringMatch {

                /**
                 * Constructs a new StringMatch.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.networking.v1alpha3.StringMatch.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** StringMatch exact. */
                exact?: (string|null);

                /** StringMatch prefix. */
                prefix?: (string|null);

                /** StringMatch regex. */
                regex?: (string|null);

                /** StringMatch matchType. */
                matchType?: ("exact"|"prefix"|"regex");

                /**
                 * Encodes the specified StringMatch message. Does not implicitly {@link istio.networking.v1alpha3.StringMatch.verify|verify} messages.
                 * @param message StringMatch message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.networking.v1alpha3.StringMatch.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a StringMatch message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.networking.v1alpha3.StringMatch & istio.networking.v1alpha3.StringMatch.$Shape} StringMatch
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.networking.v1alpha3.StringMatch & istio.networking.v1alpha3.StringMatch.$Shape;
            }

            namespace StringMatch {

                /** Properties of a StringMatch. */
                interface $Properties {

                    /** StringMatch exact */
                    exact?: (string|null);

                    /** StringMatch prefix */
                    prefix?: (string|null);

                    /** StringMatch regex */
                    regex?: (string|null);

                    /** StringMatch matchType */
                    matchType?: ("exact"|"prefix"|"regex");

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Narrowed shape of a StringMatch. */
                type $Shape = {
                  exact?: string|null;
                  prefix?: string|null;
                  regex?: string|null;
                  $unknowns?: Uint8Array[];
                } & (
                  ({ matchType?: undefined; exact?: null; prefix?: null; regex?: null }|{ matchType?: "exact"; exact: string; prefix?: null; regex?: null }|{ matchType?: "prefix"; exact?: null; prefix: string; regex?: null }|{ matchType?: "regex"; exact?: null; prefix?: null; regex: string })
                );
            }

            /**
             * Properties of a HTTPRouteDestination.
             * @deprecated Use istio.networking.v1alpha3.HTTPRouteDestination.$Properties instead.
             */
            interface IHTTPRouteDestination extends istio.networking.v1alpha3.HTTPRouteDestination.$Properties {
            }

            /** Represents a HTTPRouteDestination. */
            class HTTPRouteDestination {

                /**
                 * Constructs a new HTTPRouteDestination.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.networking.v1alpha3.HTTPRouteDestination.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** HTTPRouteDestination destination. */
                destination?: (istio.networking.v1alpha3.Destination.$Properties|null);

                /** HTTPRouteDestination weight. */
                weight: number;

                /** HTTPRouteDestination headers. */
                headers?: (Uint8Array|null);

                /**
                 * Encodes the specified HTTPRouteDestination message. Does not implicitly {@link istio.networking.v1alpha3.HTTPRouteDestination.verify|verify} messages.
                 * @param message HTTPRouteDestination message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.networking.v1alpha3.HTTPRouteDestination.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a HTTPRouteDestination message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.networking.v1alpha3.HTTPRouteDestination & istio.networking.v1alpha3.HTTPRouteDestination.$Shape} HTTPRouteDestination
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.networking.v1alpha3.HTTPRouteDestination & istio.networking.v1alpha3.HTTPRouteDestination.$Shape;
            }

            namespace HTTPRouteDestination {

                /** Properties of a HTTPRouteDestination. */
                interface $Properties {

                    /** HTTPRouteDestination destination */
                    destination?: (istio.networking.v1alpha3.Destination.$Properties|null);

                    /** HTTPRouteDestination weight */
                    weight?: (number|null);

                    /** HTTPRouteDestination headers */
                    headers?: (Uint8Array|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a HTTPRouteDestination. */
                type $Shape = istio.networking.v1alpha3.HTTPRouteDestination.$Properties;
            }

            /**
             * Properties of a RouteDestination.
             * @deprecated Use istio.networking.v1alpha3.RouteDestination.$Properties instead.
             */
            interface IRouteDestination extends istio.networking.v1alpha3.RouteDestination.$Properties {
            }

            /** Represents a RouteDestination. */
            class RouteDestination {

                /**
                 * Constructs a new RouteDestination.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.networking.v1alpha3.RouteDestination.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** RouteDestination destination. */
                destination?: (istio.networking.v1alpha3.Destination.$Properties|null);

                /** RouteDestination weight. */
                weight: number;

                /**
                 * Encodes the specified RouteDestination message. Does not implicitly {@link istio.networking.v1alpha3.RouteDestination.verify|verify} messages.
                 * @param message RouteDestination message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.networking.v1alpha3.RouteDestination.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a RouteDestination message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.networking.v1alpha3.RouteDestination & istio.networking.v1alpha3.RouteDestination.$Shape} RouteDestination
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.networking.v1alpha3.RouteDestination & istio.networking.v1alpha3.RouteDestination.$Shape;
            }

            namespace RouteDestination {

                /** Properties of a RouteDestination. */
                interface $Properties {

                    /** RouteDestination destination */
                    destination?: (istio.networking.v1alpha3.Destination.$Properties|null);

                    /** RouteDestination weight */
                    weight?: (number|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a RouteDestination. */
                type $Shape = istio.networking.v1alpha3.RouteDestination.$Properties;
            }

            /**
             * Properties of a TCPRoute.
             * @deprecated Use istio.networking.v1alpha3.TCPRoute.$Properties instead.
             */
            interface ITCPRoute extends istio.networking.v1alpha3.TCPRoute.$Properties {
            }

            /** Represents a TCPRoute. */
            class TCPRoute {

                /**
                 * Constructs a new TCPRoute.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.networking.v1alpha3.TCPRoute.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** TCPRoute match. */
                match: istio.networking.v1alpha3.L4MatchAttributes.$Properties[];

                /** TCPRoute route. */
                route: istio.networking.v1alpha3.RouteDestination.$Properties[];

                /**
                 * Encodes the specified TCPRoute message. Does not implicitly {@link istio.networking.v1alpha3.TCPRoute.verify|verify} messages.
                 * @param message TCPRoute message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.networking.v1alpha3.TCPRoute.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a TCPRoute message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.networking.v1alpha3.TCPRoute & istio.networking.v1alpha3.TCPRoute.$Shape} TCPRoute
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.networking.v1alpha3.TCPRoute & istio.networking.v1alpha3.TCPRoute.$Shape;
            }

            namespace TCPRoute {

                /** Properties of a TCPRoute. */
                interface $Properties {

                    /** TCPRoute match */
                    match?: (istio.networking.v1alpha3.L4MatchAttributes.$Properties[]|null);

                    /** TCPRoute route */
                    route?: (istio.networking.v1alpha3.RouteDestination.$Properties[]|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a TCPRoute. */
                type $Shape = istio.networking.v1alpha3.TCPRoute.$Properties;
            }

            /**
             * Properties of a L4MatchAttributes.
             * @deprecated Use istio.networking.v1alpha3.L4MatchAttributes.$Properties instead.
             */
            interface IL4MatchAttributes extends istio.networking.v1alpha3.L4MatchAttributes.$Properties {
            }

            /** Represents a L4MatchAttributes. */
            class L4MatchAttributes {

                /**
                 * Constructs a new L4MatchAttributes.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.networking.v1alpha3.L4MatchAttributes.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** L4MatchAttributes destinationSubnets. */
                destinationSubnets: string[];

                /** L4MatchAttributes port. */
                port: number;

                /** L4MatchAttributes sourceSubnet. */
                sourceSubnet: string;

                /** L4MatchAttributes sourceLabels. */
                sourceLabels: Uint8Array[];

                /** L4MatchAttributes gateways. */
                gateways: string[];

                /** L4MatchAttributes sourceNamespace. */
                sourceNamespace: string;

                /**
                 * Encodes the specified L4MatchAttributes message. Does not implicitly {@link istio.networking.v1alpha3.L4MatchAttributes.verify|verify} messages.
                 * @param message L4MatchAttributes message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.networking.v1alpha3.L4MatchAttributes.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a L4MatchAttributes message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.networking.v1alpha3.L4MatchAttributes & istio.networking.v1alpha3.L4MatchAttributes.$Shape} L4MatchAttributes
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.networking.v1alpha3.L4MatchAttributes & istio.networking.v1alpha3.L4MatchAttributes.$Shape;
            }

            namespace L4MatchAttributes {

                /** Properties of a L4MatchAttributes. */
                interface $Properties {

                    /** L4MatchAttributes destinationSubnets */
                    destinationSubnets?: (string[]|null);

                    /** L4MatchAttributes port */
                    port?: (number|null);

                    /** L4MatchAttributes sourceSubnet */
                    sourceSubnet?: (string|null);

                    /** L4MatchAttributes sourceLabels */
                    sourceLabels?: (Uint8Array[]|null);

                    /** L4MatchAttributes gateways */
                    gateways?: (string[]|null);

                    /** L4MatchAttributes sourceNamespace */
                    sourceNamespace?: (string|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a L4MatchAttributes. */
                type $Shape = istio.networking.v1alpha3.L4MatchAttributes.$Properties;
            }
        }
    }

    /** Namespace mcp. */
    namespace mcp {

        /** Namespace v1alpha1. */
        namespace v1alpha1 {

            /**
             * Properties of a Resource.
             * @deprecated Use istio.mcp.v1alpha1.Resource.$Properties instead.
             */
            interface IResource extends istio.mcp.v1alpha1.Resource.$Properties {
            }

            /** Represents a Resource. */
            class Resource {

                /**
                 * Constructs a new Resource.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.mcp.v1alpha1.Resource.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Resource metadata. */
                metadata?: (istio.mcp.v1alpha1.Metadata.$Properties|null);

                /** Resource body. */
                body?: (google.protobuf.Any.$Properties|null);

                /**
                 * Encodes the specified Resource message. Does not implicitly {@link istio.mcp.v1alpha1.Resource.verify|verify} messages.
                 * @param message Resource message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.mcp.v1alpha1.Resource.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a Resource message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.mcp.v1alpha1.Resource & istio.mcp.v1alpha1.Resource.$Shape} Resource
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.mcp.v1alpha1.Resource & istio.mcp.v1alpha1.Resource.$Shape;
            }

            namespace Resource {

                /** Properties of a Resource. */
                interface $Properties {

                    /** Resource metadata */
                    metadata?: (istio.mcp.v1alpha1.Metadata.$Properties|null);

                    /** Resource body */
                    body?: (google.protobuf.Any.$Properties|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a Resource. */
                type $Shape = istio.mcp.v1alpha1.Resource.$Properties;
            }

            /**
             * Properties of a Metadata.
             * @deprecated Use istio.mcp.v1alpha1.Metadata.$Properties instead.
             */
            interface IMetadata extends istio.mcp.v1alpha1.Metadata.$Properties {
            }

            /** Represents a Metadata. */
            class Metadata {

                /**
                 * Constructs a new Metadata.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.mcp.v1alpha1.Metadata.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Metadata name. */
                name: string;

                /** Metadata createTime. */
                createTime?: (istio.mcp.v1alpha1.Timestamp.$Properties|null);

                /** Metadata version. */
                version: string;

                /** Metadata labels. */
                labels: { [k: string]: string };

                /** Metadata annotations. */
                annotations: { [k: string]: string };

                /**
                 * Encodes the specified Metadata message. Does not implicitly {@link istio.mcp.v1alpha1.Metadata.verify|verify} messages.
                 * @param message Metadata message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.mcp.v1alpha1.Metadata.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a Metadata message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.mcp.v1alpha1.Metadata & istio.mcp.v1alpha1.Metadata.$Shape} Metadata
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.mcp.v1alpha1.Metadata & istio.mcp.v1alpha1.Metadata.$Shape;
            }

            namespace Metadata {

                /** Properties of a Metadata. */
                interface $Properties {

                    /** Metadata name */
                    name?: (string|null);

                    /** Metadata createTime */
                    createTime?: (istio.mcp.v1alpha1.Timestamp.$Properties|null);

                    /** Metadata version */
                    version?: (string|null);

                    /** Metadata labels */
                    labels?: ({ [k: string]: string }|null);

                    /** Metadata annotations */
                    annotations?: ({ [k: string]: string }|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a Metadata. */
                type $Shape = istio.mcp.v1alpha1.Metadata.$Properties;
            }

            /**
             * Properties of a Timestamp.
             * @deprecated Use istio.mcp.v1alpha1.Timestamp.$Properties instead.
             */
            interface ITimestamp extends istio.mcp.v1alpha1.Timestamp.$Properties {
            }

            /** Represents a Timestamp. */
            class Timestamp {

                /**
                 * Constructs a new Timestamp.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: istio.mcp.v1alpha1.Timestamp.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Timestamp seconds. */
                seconds: number;

                /** Timestamp nanos. */
                nanos: number;

                /**
                 * Encodes the specified Timestamp message. Does not implicitly {@link istio.mcp.v1alpha1.Timestamp.verify|verify} messages.
                 * @param message Timestamp message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: istio.mcp.v1alpha1.Timestamp.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a Timestamp message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {istio.mcp.v1alpha1.Timestamp & istio.mcp.v1alpha1.Timestamp.$Shape} Timestamp
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): istio.mcp.v1alpha1.Timestamp & istio.mcp.v1alpha1.Timestamp.$Shape;
            }

            namespace Timestamp {

                /** Properties of a Timestamp. */
                interface $Properties {

                    /** Timestamp seconds */
                    seconds?: (number|null);

                    /** Timestamp nanos */
                    nanos?: (number|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a Timestamp. */
                type $Shape = istio.mcp.v1alpha1.Timestamp.$Properties;
            }
        }
    }
}

/** Namespace google. */
export namespace google {

    /** Namespace protobuf. */
    namespace protobuf {

        /**
         * Properties of an Any.
         * @deprecated Use google.protobuf.Any.$Properties instead.
         */
        interface IAny extends google.protobuf.Any.$Properties {
        }

        /** Represents an Any. */
        class Any {

            /**
             * Constructs a new Any.
             * @param [properties] Properties to set
             */
            constructor(properties?: google.protobuf.Any.$Properties);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];

            /** Any typeUrl. */
            typeUrl: string;

            /** Any value. */
            value: Uint8Array;

            /**
             * Encodes the specified Any message. Does not implicitly {@link google.protobuf.Any.verify|verify} messages.
             * @param message Any message or plain object to encode
             * @param [writer] Writer to encode to
             * @returns Writer
             */
            static encode(message: google.protobuf.Any.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

            /**
             * Decodes an Any message from the specified reader or buffer.
             * @param reader Reader or buffer to decode from
             * @param [length] Message length if known beforehand
             * @returns {google.protobuf.Any & google.protobuf.Any.$Shape} Any
             * @throws {Error} If the payload is not a reader or valid buffer
             * @throws {$protobuf.util.ProtocolError} If required fields are missing
             */
            static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): google.protobuf.Any & google.protobuf.Any.$Shape;
        }

        namespace Any {

            /** Properties of an Any. */
            interface $Properties {

                /** Any typeUrl */
                typeUrl?: (string|null);

                /** Any value */
                value?: (Uint8Array|null);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];
            }

            /** Shape of an Any. */
            type $Shape = google.protobuf.Any.$Properties;
        }

        /**
         * Properties of a Duration.
         * @deprecated Use google.protobuf.Duration.$Properties instead.
         */
        interface IDuration extends google.protobuf.Duration.$Properties {
        }

        /** Represents a Duration. */
        class Duration {

            /**
             * Constructs a new Duration.
             * @param [properties] Properties to set
             */
            constructor(properties?: google.protobuf.Duration.$Properties);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];

            /** Duration seconds. */
            seconds: number;

            /** Duration nanos. */
            nanos: number;

            /**
             * Encodes the specified Duration message. Does not implicitly {@link google.protobuf.Duration.verify|verify} messages.
             * @param message Duration message or plain object to encode
             * @param [writer] Writer to encode to
             * @returns Writer
             */
            static encode(message: google.protobuf.Duration.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

            /**
             * Decodes a Duration message from the specified reader or buffer.
             * @param reader Reader or buffer to decode from
             * @param [length] Message length if known beforehand
             * @returns {google.protobuf.Duration & google.protobuf.Duration.$Shape} Duration
             * @throws {Error} If the payload is not a reader or valid buffer
             * @throws {$protobuf.util.ProtocolError} If required fields are missing
             */
            static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): google.protobuf.Duration & google.protobuf.Duration.$Shape;
        }

        namespace Duration {

            /** Properties of a Duration. */
            interface $Properties {

                /** Duration seconds */
                seconds?: (number|null);

                /** Duration nanos */
                nanos?: (number|null);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];
            }

            /** Shape of a Duration. */
            type $Shape = google.protobuf.Duration.$Properties;
        }

        /**
         * Properties of an Empty.
         * @deprecated Use google.protobuf.Empty.$Properties instead.
         */
        interface IEmpty extends google.protobuf.Empty.$Properties {
        }

        /** Represents an Empty. */
        class Empty {

            /**
             * Constructs a new Empty.
             * @param [properties] Properties to set
             */
            constructor(properties?: google.protobuf.Empty.$Properties);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];

            /**
             * Encodes the specified Empty message. Does not implicitly {@link google.protobuf.Empty.verify|verify} messages.
             * @param message Empty message or plain object to encode
             * @param [writer] Writer to encode to
             * @returns Writer
             */
            static encode(message: google.protobuf.Empty.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

            /**
             * Decodes an Empty message from the specified reader or buffer.
             * @param reader Reader or buffer to decode from
             * @param [length] Message length if known beforehand
             * @returns {google.protobuf.Empty & google.protobuf.Empty.$Shape} Empty
             * @throws {Error} If the payload is not a reader or valid buffer
             * @throws {$protobuf.util.ProtocolError} If required fields are missing
             */
            static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): google.protobuf.Empty & google.protobuf.Empty.$Shape;
        }

        namespace Empty {

            /** Properties of an Empty. */
            interface $Properties {

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];
            }

            /** Shape of an Empty. */
            type $Shape = google.protobuf.Empty.$Properties;
        }

        /**
         * Properties of a UInt32Value.
         * @deprecated Use google.protobuf.UInt32Value.$Properties instead.
         */
        interface IUInt32Value extends google.protobuf.UInt32Value.$Properties {
        }

        /** Represents a UInt32Value. */
        class UInt32Value {

            /**
             * Constructs a new UInt32Value.
             * @param [properties] Properties to set
             */
            constructor(properties?: google.protobuf.UInt32Value.$Properties);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];

            /** UInt32Value value. */
            value: number;

            /**
             * Encodes the specified UInt32Value message. Does not implicitly {@link google.protobuf.UInt32Value.verify|verify} messages.
             * @param message UInt32Value message or plain object to encode
             * @param [writer] Writer to encode to
             * @returns Writer
             */
            static encode(message: google.protobuf.UInt32Value.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

            /**
             * Decodes a UInt32Value message from the specified reader or buffer.
             * @param reader Reader or buffer to decode from
             * @param [length] Message length if known beforehand
             * @returns {google.protobuf.UInt32Value & google.protobuf.UInt32Value.$Shape} UInt32Value
             * @throws {Error} If the payload is not a reader or valid buffer
             * @throws {$protobuf.util.ProtocolError} If required fields are missing
             */
            static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): google.protobuf.UInt32Value & google.protobuf.UInt32Value.$Shape;
        }

        namespace UInt32Value {

            /** Properties of a UInt32Value. */
            interface $Properties {

                /** UInt32Value value */
                value?: (number|null);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];
            }

            /** Shape of a UInt32Value. */
            type $Shape = google.protobuf.UInt32Value.$Properties;
        }

        /**
         * Properties of a Struct.
         * @deprecated Use google.protobuf.Struct.$Properties instead.
         */
        interface IStruct extends google.protobuf.Struct.$Properties {
        }

        /** Represents a Struct. */
        class Struct {

            /**
             * Constructs a new Struct.
             * @param [properties] Properties to set
             */
            constructor(properties?: google.protobuf.Struct.$Properties);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];

            /** Struct fields. */
            fields: { [k: string]: google.protobuf.Value.$Properties };

            /**
             * Encodes the specified Struct message. Does not implicitly {@link google.protobuf.Struct.verify|verify} messages.
             * @param message Struct message or plain object to encode
             * @param [writer] Writer to encode to
             * @returns Writer
             */
            static encode(message: google.protobuf.Struct.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

            /**
             * Decodes a Struct message from the specified reader or buffer.
             * @param reader Reader or buffer to decode from
             * @param [length] Message length if known beforehand
             * @returns {google.protobuf.Struct & google.protobuf.Struct.$Shape} Struct
             * @throws {Error} If the payload is not a reader or valid buffer
             * @throws {$protobuf.util.ProtocolError} If required fields are missing
             */
            static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): google.protobuf.Struct & google.protobuf.Struct.$Shape;
        }

        namespace Struct {

            /** Properties of a Struct. */
            interface $Properties {

                /** Struct fields */
                fields?: ({ [k: string]: google.protobuf.Value.$Properties }|null);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];
            }

            /** Shape of a Struct. */
            type $Shape = {
              fields?: { [k: string]: google.protobuf.Value.$Shape }|null;
              $unknowns?: Uint8Array[];
            };
        }

        /**
         * Properties of a Value.
         * @deprecated Use google.protobuf.Value.$Properties instead.
         */
        interface IValue extends google.protobuf.Value.$Properties {
        }

        /** Represents a Value. */
        class Value {

            /**
             * Constructs a new Value.
             * @param [properties] Properties to set
             */
            constructor(properties?: google.protobuf.Value.$Properties);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];

            /** Value nullValue. */
            nullValue?: (google.protobuf.NullValue|null);

            /** Value numberValue. */
            numberValue?: (number|null);

            /** Value stringValue. */
            stringValue?: (string|null);

            /** Value boolValue. */
            boolValue?: (boolean|null);

            /** Value structValue. */
            structValue?: (google.protobuf.Struct.$Properties|null);

            /** Value listValue. */
            listValue?: (google.protobuf.ListValue.$Properties|null);

            /** Value kind. */
            kind?: ("nullValue"|"numberValue"|"stringValue"|"boolValue"|"structValue"|"listValue");

            /**
             * Encodes the specified Value message. Does not implicitly {@link google.protobuf.Value.verify|verify} messages.
             * @param message Value message or plain object to encode
             * @param [writer] Writer to encode to
             * @returns Writer
             */
            static encode(message: google.protobuf.Value.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

            /**
             * Decodes a Value message from the specified reader or buffer.
             * @param reader Reader or buffer to decode from
             * @param [length] Message length if known beforehand
             * @returns {google.protobuf.Value & google.protobuf.Value.$Shape} Value
             * @throws {Error} If the payload is not a reader or valid buffer
             * @throws {$protobuf.util.ProtocolError} If required fields are missing
             */
            static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): google.protobuf.Value & google.protobuf.Value.$Shape;
        }

        namespace Value {

            /** Properties of a Value. */
            interface $Properties {

                /** Value nullValue */
                nullValue?: (google.protobuf.NullValue|null);

                /** Value numberValue */
                numberValue?: (number|null);

                /** Value stringValue */
                stringValue?: (string|null);

                /** Value boolValue */
                boolValue?: (boolean|null);

                /** Value structValue */
                structValue?: (google.protobuf.Struct.$Properties|null);

                /** Value listValue */
                listValue?: (google.protobuf.ListValue.$Properties|null);

                /** Value kind */
                kind?: ("nullValue"|"numberValue"|"stringValue"|"boolValue"|"structValue"|"listValue");

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];
            }

            /** Narrowed shape of a Value. */
            type $Shape = {
              nullValue?: google.protobuf.NullValue|null;
              numberValue?: number|null;
              stringValue?: string|null;
              boolValue?: boolean|null;
              structValue?: google.protobuf.Struct.$Shape|null;
              listValue?: google.protobuf.ListValue.$Shape|null;
              $unknowns?: Uint8Array[];
            } & (
              ({ kind?: undefined; nullValue?: null; numberValue?: null; stringValue?: null; boolValue?: null; structValue?: null; listValue?: null }|{ kind?: "nullValue"; nullValue: google.protobuf.NullValue; numberValue?: null; stringValue?: null; boolValue?: null; structValue?: null; listValue?: null }|{ kind?: "numberValue"; nullValue?: null; numberValue: number; stringValue?: null; boolValue?: null; structValue?: null; listValue?: null }|{ kind?: "stringValue"; nullValue?: null; numberValue?: null; stringValue: string; boolValue?: null; structValue?: null; listValue?: null }|{ kind?: "boolValue"; nullValue?: null; numberValue?: null; stringValue?: null; boolValue: boolean; structValue?: null; listValue?: null }|{ kind?: "structValue"; nullValue?: null; numberValue?: null; stringValue?: null; boolValue?: null; structValue: google.protobuf.Struct.$Shape; listValue?: null }|{ kind?: "listValue"; nullValue?: null; numberValue?: null; stringValue?: null; boolValue?: null; structValue?: null; listValue: google.protobuf.ListValue.$Shape })
            );
        }

        /**
         * Properties of a ListValue.
         * @deprecated Use google.protobuf.ListValue.$Properties instead.
         */
        interface IListValue extends google.protobuf.ListValue.$Properties {
        }

        /** Represents a ListValue. */
        class ListValue {

            /**
             * Constructs a new ListValue.
             * @param [properties] Properties to set
             */
            constructor(properties?: google.protobuf.ListValue.$Properties);

            /** Unknown fields preserved while decoding when enabled */
            $unknowns?: Uint8Array[];

            /** ListValue values. */
            values: google.protobuf.Value.$Properties[];

            /**
             * Encodes the specified ListValue message. Does not implicitly {@link google.protobuf.ListValue.verify|verify} messages.
             * @param message ListValue message or plain object to encode
             * @param [writer] Writer to encode to
             * @returns Writer
             */
            static encode(message: google.protobuf.ListValue.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

            /**
             * Decodes a ListValue message from the specified reader or buffer.
             * @param reader Reader or buffer to decode from
             * @param [length] Message length if known beforehand
             * @returns {google.protobuf.ListValue & google.protobuf.ListValue.$Shape} ListValue
             * @throws {Error} If the payload is not a reader or valid buffer
             * @throws {$protobuf.util.ProtocolError} If required fields are missing
             */
            static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): google.protobuf.ListValue & google.protobuf.ListValue.$Shape;
        }

        namespace ListValue {

            /** Properties of a ListValue. */
            interface $Properties {

                /** ListValue values */
                values?: (google.protobuf.Value.$Properties[]|null);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];
            }

            /** Shape of a ListValue. */
            type $Shape = {
              values?: google.protobuf.Value.$Shape[]|null;
              $unknowns?: Uint8Array[];
            };
        }

        /** NullValue enum. */
        enum NullValue {

            /** NULL_VALUE value */
            NULL_VALUE = 0
        }
    }
}
