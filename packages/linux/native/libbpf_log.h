// Captures the messages of libbpf and the verifier on the calling thread.
#pragma once

#include <string>

class LibbpfLog
{
      public:
	LibbpfLog();
	~LibbpfLog();
	LibbpfLog(const LibbpfLog &) = delete;
	LibbpfLog &operator=(const LibbpfLog &) = delete;

	std::string text;

      private:
	LibbpfLog *outer_;
};
