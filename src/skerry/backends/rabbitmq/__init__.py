"""RabbitMQ: commands in quorum queues, events as hints through one exclusive queue per process (extra `rabbitmq`)."""
