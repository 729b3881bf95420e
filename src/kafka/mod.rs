//! KafkaProducerActor and what it is made of.
