"""Native DynamoDB exports as AWS writes them to S3: the writer, and the engine that runs it in the sandbox."""
