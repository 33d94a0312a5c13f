/* Event numbers of the engine. Those of TypeScript are generated from here
 * (scripts/generate-kinds.ts). */
#pragma once

namespace kmesh::tunnel
{

enum class EventType : int {
	Accepted = 1,
	AcceptFailed = 2,
	SessionReady = 3,
	SessionLimit = 4,
	SessionDraining = 5,
	SessionClosed = 6,
	Request = 7,
	FlowOpened = 8,
	FlowClosed = 9,
	Bytes = 10,
	SourceNotKept = 11,
	TextDefined = 12,
	ListenerClosed = 13,
	/* Admitted by a plan. */
	Served = 14,
	/* Admitted by a plan, and ended in order before it was reported. */
	Passed = 15,
	/* Before FlowClosed, when a socket stays open for a while: FlowReleased follows. */
	FlowHeld = 16,
	FlowReleased = 17,
	/* Not read until its receivers have taken some bytes. */
	SessionWaits = 18,
};

/* Why a flow ended. */
enum class FlowEnd : int {
	Complete = 0,
	ConnectFailed = 1,
	ConnectTimeout = 2,
	HttpStatus = 3,
	Retry = 4,
	Reset = 5,
	Aborted = 6,
	SessionLost = 7,
	SetupFailed = 8,
	/* The peer reset the request before it answered. */
	Unanswered = 9,
};

/* Why a session ended. */
enum class SessionEnd : int {
	Closed = 0,
	ConnectFailed = 1,
	ConnectTimeout = 2,
	TlsFailed = 3,
	Http2Failed = 4,
	PingTimeout = 5,
	Aborted = 6,
	SetupFailed = 7,
	CarrierFailed = 8,
	/* The session around it was lost, or refused the request for it, unanswered. */
	CarrierLost = 9,
};

} // namespace kmesh::tunnel
