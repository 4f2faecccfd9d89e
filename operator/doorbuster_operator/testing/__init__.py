"""What tests of the operator need and production never imports: fakes of its peers, builders of its facts."""
