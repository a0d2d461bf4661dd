"""Running a package: lowering to OpenVINO, sessions, and timing in a process of its own."""
