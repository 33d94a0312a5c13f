/* Commands to a running engine. */
#pragma once

#include <node_api.h>

namespace kmesh::tunnel
{

napi_value engineAddNamespace(napi_env env, napi_callback_info info);
napi_value engineRemoveNamespace(napi_env env, napi_callback_info info);
napi_value engineAddListener(napi_env env, napi_callback_info info);
napi_value engineRemoveListener(napi_env env, napi_callback_info info);
napi_value flowConnect(napi_env env, napi_callback_info info);
napi_value flowRequest(napi_env env, napi_callback_info info);
napi_value flowPlan(napi_env env, napi_callback_info info);
napi_value engineTakeBack(napi_env env, napi_callback_info info);
napi_value flowReject(napi_env env, napi_callback_info info);
napi_value flowAbort(napi_env env, napi_callback_info info);
napi_value flowLeave(napi_env env, napi_callback_info info);
napi_value sessionAccept(napi_env env, napi_callback_info info);
napi_value sessionConnect(napi_env env, napi_callback_info info);
napi_value sessionNest(napi_env env, napi_callback_info info);
napi_value sessionDrain(napi_env env, napi_callback_info info);
napi_value sessionAbort(napi_env env, napi_callback_info info);
napi_value engineReportBytes(napi_env env, napi_callback_info info);
napi_value engineUnacknowledged(napi_env env, napi_callback_info info);
napi_value tlsContext(napi_env env, napi_callback_info info);
napi_value tlsChainRevoked(napi_env env, napi_callback_info info);

} // namespace kmesh::tunnel
