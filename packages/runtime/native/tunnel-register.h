/* Adds the tunnel engine's functions to the addon's exports. */
#pragma once

#include <node_api.h>

void registerTunnel(napi_env env, napi_value exports);
