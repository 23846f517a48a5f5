"""The DynamoDB table that shows every Stack: compared with what is, and mended where it differs."""
